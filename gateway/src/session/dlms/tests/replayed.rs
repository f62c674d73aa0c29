//! An answer recorded from a meter and played back to a gateway that was restarted meanwhile.

use super::*;
use crate::store::tests::fresh;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Carries bytes between a caller and a meter, and keeps each answer.
async fn listen_in(mut caller: DuplexStream, mut meter: DuplexStream, answers: Arc<Mutex<Vec<Vec<u8>>>>) {
    let (mut request, mut answer) = ([0; 2_048], [0; 2_048]);
    loop {
        tokio::select! {
            read = caller.read(&mut request) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => meter.write_all(&request[..n]).await.expect("the meter listens"),
            },
            read = meter.read(&mut answer) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    answers.lock().expect("not poisoned").push(answer[..n].to_vec());
                    if caller.write_all(&answer[..n]).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

/// Answers each request with the next recorded answer; tells how many were asked for.
async fn play_back(mut caller: DuplexStream, answers: Vec<Vec<u8>>, asked: Arc<Mutex<usize>>) {
    let mut request = [0; 2_048];
    for answer in answers {
        if !caller.read(&mut request).await.is_ok_and(|read| read > 0) {
            return;
        }
        *asked.lock().expect("not poisoned") += 1;
        caller.write_all(&answer).await.expect("the gateway listens");
    }
}

/// Reads with the recorded answers: how it ended, and how many requests the gateway made.
async fn read_replayed(counters: Arc<dyn Counters>, answers: Vec<Vec<u8>>) -> (Report, usize) {
    let context = Context { counters, ..context() };
    let (ours, theirs) = tokio::io::duplex(4_096);
    let asked = Arc::new(Mutex::new(0));
    tokio::spawn(play_back(theirs, answers, asked.clone()));
    let mut talker = DlmsTalker::on(Pipe::new(ours, Arc::default(), None));
    let at = endpoint(SERIAL, "127.0.0.1:1", Framing::Wrapper);
    let report = perform(&mut talker, &context, &at, Work::Read).await;
    let asked = *asked.lock().expect("not poisoned");
    (report, asked)
}

#[tokio::test]
async fn an_answer_recorded_before_a_restart_is_refused_after_it() {
    let mut fresh = fresh().await;
    let answers = Arc::default();
    let meter = shared(TestMeter::new(SERIAL));
    let (ours, theirs) = tokio::io::duplex(4_096);
    let (tapped, meters_end) = tokio::io::duplex(4_096);
    tokio::spawn(listen_in(theirs, tapped, Arc::clone(&answers)));
    tokio::spawn(serve(meters_end, vec![(meter, Attached::Wrapper)], Duration::ZERO));
    let mut talker = DlmsTalker::on(Pipe::new(ours, Arc::default(), None));
    let first = Context { counters: Arc::new(fresh.store.clone()), ..context() };
    let at = endpoint(SERIAL, "127.0.0.1:1", Framing::Wrapper);
    let report = perform(&mut talker, &first, &at, Work::Read).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    talker.release().await;
    drop((talker, first));
    let answers = answers.lock().expect("not poisoned").clone();

    fresh.reopen().await;
    let (report, asked) = read_replayed(Arc::new(fresh.store.clone()), answers.clone()).await;
    assert!(
        matches!(&report.ending, Ending::NotSent { reason } if reason.contains("Replay")),
        "{:?}",
        report.ending
    );
    assert_eq!(asked, 1, "the recorded AARE is not believed, and nothing more is said");
    // A gateway that had forgotten would have believed the AARE and gone on.
    let (_, asked) = read_replayed(Arc::new(MemoryCounters::default()), answers).await;
    assert!(asked > 1);
}
