use super::*;

async fn outcome(text: &str) -> Outcome {
    let case = Case::parse(text).unwrap_or_else(|error| panic!("{error}"));
    play(case, |_| {}).await.unwrap_or_else(|error| panic!("{error:#}"))
}

#[tokio::test]
async fn every_case_ends_as_expected() {
    let mut wrong = Vec::new();
    for (id, text) in CASES {
        let outcome = outcome(text).await;
        assert!(outcome.met >= 5, "{id} expects next to nothing: {}", outcome.met);
        wrong.extend(outcome.failed.into_iter().map(|failed| format!("{id}: {failed}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_does_not_happen_is_noticed() {
    let text = text_of("n01").unwrap();
    let changes = [
        ("watts = 3000", "watts = 1"),
        ("wh = 5000", "wh = 1000"),
        ("relay = \"open\"", "relay = \"closed\""),
        ("logged = [\"LowCredit\"", "logged = [\"MagnetOn\""),
        ("answer = \"held: no credit\"", "answer = \"closed\""),
    ];
    for (from, to) in changes {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        assert!(!outcome(&changed).await.failed.is_empty(), "{from} -> {to}");
    }
    let loss = text_of("N32").unwrap().replace("percent = 70", "percent = 0");
    assert!(!outcome(&loss).await.failed.is_empty(), "nobody steals, nobody is found");
}

#[test]
fn a_case_says_where_it_is_wrong() {
    let text = text_of("N01").unwrap().replace("advance = \"1h\"", "advanse = \"1h\"");
    let error = Case::parse(&text).unwrap_err();
    assert!(error.line > 20 && error.message.contains("expected one of `say`, `vend`"), "{error}");
}
