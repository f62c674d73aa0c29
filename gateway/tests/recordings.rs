//! Recorded sessions kept as test data: today's sessions still say the same to the same answers.

use gateway::session::model::Models;
use gateway::session::record::replay;
use std::path::Path;

#[tokio::test]
async fn kept_sessions_go_the_same_way_again() {
    let models = Models::load(None).expect("built-in models");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut works = 0;
    for file in std::fs::read_dir(folder).expect("the recordings") {
        let file = file.expect("a file").path();
        let text = std::fs::read_to_string(&file).expect("a text");
        let replayed = replay(&text, &models).await;
        works += replayed.unwrap_or_else(|difference| panic!("{}: {difference}", file.display())).works;
    }
    assert!(works >= 12, "three sessions with the simulator's meters alone have twelve, not {works}");
}
