//! A scrape after a story, read by the rules of the OpenMetrics 1.0 text format.

use std::collections::{BTreeMap, BTreeSet};

/// A scrape, checked: every sample with its labels as written, and the type of every family.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) samples: BTreeMap<String, String>,
    pub(crate) types: BTreeMap<String, String>,
}

impl Scrape {
    /// The value of a sample; panics when it is not there.
    pub(crate) fn value(&self, sample: &str) -> f64 {
        let value = self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in {:#?}", self.samples));
        value.parse().unwrap()
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Name and labels of a sample, each label `name="value"` with escapes.
fn split(sample: &str) -> (&str, Vec<(&str, &str)>) {
    let Some((name, rest)) = sample.split_once('{') else { return (sample, Vec::new()) };
    let mut rest = rest.strip_suffix('}').expect("labels end");
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"").expect("a label has a quoted value");
        let mut escaped = false;
        let end = value
            .char_indices()
            .find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            })
            .expect("the quote ends")
            .0;
        labels.push((label, &value[..end]));
        rest = value[end + 1..].trim_start_matches(',');
    }
    (name, labels)
}

/// Reads a scrape strictly: what it says of a family comes before its samples and once, families are not interleaved, counters
/// end in `_total` and count up from 0, buckets are cumulative, and the text ends with its mark.
pub(crate) fn read(text: &str) -> Scrape {
    let body = text.strip_suffix("# EOF\n").expect("the end mark");
    let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
    let mut helped = BTreeSet::new();
    let mut family = String::new();
    for line in body.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            let (name, help) = said.split_once(' ').expect("name and help");
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "explained twice: {name}");
            continue;
        }
        if let Some(said) = line.strip_prefix("# TYPE ") {
            let (name, kind) = said.split_once(' ').expect("name and type");
            assert!(["counter", "gauge", "histogram"].contains(&kind) && helped.contains(name), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "typed twice: {name}");
            name.clone_into(&mut family);
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("sample and value");
        let (name, labels) = split(sample);
        let suffix =
            name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{name} stands under {family}"));
        let suffixes: &[&str] = match types[&family].as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            _ => &["_sum", "_count", "_bucket"],
        };
        assert!(suffixes.contains(&suffix), "{line}");
        assert!(labels.iter().all(|(label, _)| is_name(label)), "{line}");
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(suffix.is_empty() || number >= 0.0, "{line}");
        assert!(samples.insert(sample.to_owned(), value.to_owned()).is_none(), "said twice: {sample}");
    }
    let scrape = Scrape { samples, types };
    buckets_are_cumulative(&scrape);
    scrape
}

fn buckets_are_cumulative(scrape: &Scrape) {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (sample, value) in &scrape.samples {
        let (name, labels) = split(sample);
        let Some(family) = name.strip_suffix("_bucket") else { continue };
        let (bounds, others): (Vec<_>, Vec<_>) = labels.into_iter().partition(|(label, _)| *label == "le");
        let bound = match bounds[0].1 {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().unwrap(),
        };
        let others: Vec<String> =
            others.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let labels = if others.is_empty() { String::new() } else { format!("{{{}}}", others.join(",")) };
        series.entry(format!("{family}_count{labels}")).or_default().push((bound, value.parse().unwrap()));
    }
    for (count, mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{count}: {buckets:?}");
        let last = buckets.last().expect("a bucket");
        assert_eq!((last.0, last.1), (f64::INFINITY, scrape.value(&count)), "{count}");
    }
}

#[test]
#[should_panic(expected = "said twice")]
fn the_reader_of_the_test_notices_a_sample_that_is_there_twice() {
    read("# HELP a b.\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"1\"} 2\n# EOF\n");
}

#[test]
#[should_panic(expected = "stands under")]
fn the_reader_of_the_test_notices_a_sample_of_another_family() {
    read("# HELP a b.\n# TYPE a gauge\nb 1\n# EOF\n");
}
