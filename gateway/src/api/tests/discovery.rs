//! Searches over the API.

use super::*;

#[tokio::test]
async fn a_search_is_refused_where_there_is_no_bus_and_followed_where_there_is_one() {
    let api = Api::new().await;
    let start = |line: &str, body: &str| {
        let (path, body) = (format!("/api/v1/lines/{line}/discovery"), body.to_owned());
        let api = &api;
        async move { api.ask("desk", "POST", &path, &body).await }
    };
    for (line, body, said) in [
        ("attic", "{}", "404 not-found there is no line \"attic\""),
        ("street", "{\"model\": \"reference-dlms\"}", "400 malformed-request line \"street\" is a network"),
        (
            "bus",
            "{\"model\": \"reference-dlms\"}",
            "400 malformed-request model \"reference-dlms\" does not speak",
        ),
        ("bus", "{\"model\": \"nobody\"}", "400 malformed-request there is no model \"nobody\""),
        ("bus", "{\"from\": 200, \"to\": 300}", "400 malformed-request from and to must be 1 to 247"),
        ("bus", "{\"from\": 9, \"to\": 8}", "400 malformed-request from and to must be 1 to 247"),
        ("bus", "{\"colour\": 1}", "400 malformed-request the body is not as expected"),
    ] {
        let refused = start(line, body).await;
        assert!(refused.said().starts_with(said), "{}", refused.said());
    }
    let path = "/api/v1/lines/bus/discovery";
    assert_eq!(api.ask("eye", "GET", path, "").await.status, 404, "nothing was searched yet");
    assert_eq!(api.ask("eye", "POST", path, "{}").await.status, 403, "looking is not asking");
    assert_eq!(api.ask("desk", "DELETE", path, "").await.status, 404);
    let begun = start("bus", "{}").await;
    assert_eq!(begun.status, 202, "{}", begun.said());
    let models = begun.body["models"].as_array().unwrap();
    assert!(models.contains(&json!("reference-modbus")) && !models.contains(&json!("reference-dlms")));
    assert_eq!(
        (&begun.body["from"], &begun.body["to"], &begun.body["running"]),
        (&json!(1), &json!(247), &json!(true))
    );
    for _ in 0..1_000 {
        let shown = api.ask("eye", "GET", path, "").await;
        if shown.body["running"] == false {
            // The bench's meters are not those of its lines: there is nobody to ask through.
            assert!(shown.body["problem"].is_string(), "{}", shown.body);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a search that cannot go on ends");
}
