//! The reference design holds together: schematic, bill of materials, pin table and drawings tell the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn design() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("design")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(design().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// An s-expression.
#[derive(Debug, PartialEq)]
enum Node {
    Word(String),
    List(Vec<Node>),
}

impl Node {
    /// The file's one expression.
    fn parse(text: &str) -> Self {
        let mut open: Vec<Vec<Self>> = vec![Vec::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '(' => open.push(Vec::new()),
                ')' => {
                    let list = open.pop().expect("a list is open");
                    open.last_mut().expect("no bracket too many").push(Self::List(list));
                }
                '"' => {
                    let mut word = String::new();
                    loop {
                        match chars.next().expect("the string ends") {
                            '\\' => word.extend(chars.next()),
                            '"' => break,
                            c => word.push(c),
                        }
                    }
                    open.last_mut().expect("inside a list").push(Self::Word(word));
                }
                c if c.is_whitespace() => {}
                c => {
                    let mut word = String::from(c);
                    while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"()\"".contains(*c)) {
                        word.push(c);
                    }
                    open.last_mut().expect("inside a list").push(Self::Word(word));
                }
            }
        }
        assert_eq!(open.len(), 1, "brackets are left open");
        let mut all = open.remove(0);
        assert_eq!(all.len(), 1, "one expression in a file");
        all.remove(0)
    }

    fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            Self::Word(_) => &[],
        }
    }

    fn word(&self, n: usize) -> &str {
        match self.list().get(n) {
            Some(Self::Word(word)) => word,
            _ => "",
        }
    }

    /// The lists in this one that begin with `name`.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.list().iter().filter(move |node| node.word(0) == name)
    }

    /// Value of a symbol's property.
    fn property(&self, name: &str) -> &str {
        self.all("property").find(|p| p.word(1) == name).map_or("", |p| p.word(2))
    }
}

/// The sheets that the root names, parsed.
fn sheets() -> BTreeMap<String, Node> {
    let root = Node::parse(&read("schematic/meter.kicad_sch"));
    let files = root.all("sheet").map(|sheet| sheet.property("Sheet file").to_owned());
    files.map(|file| (file.clone(), Node::parse(&read(&format!("schematic/{file}"))))).collect()
}

/// The symbols on all sheets: (reference, value).
fn symbols() -> Vec<(String, String)> {
    let placed = |sheet: &Node| -> Vec<_> {
        sheet
            .all("symbol")
            .map(|s| (s.property("Reference").to_owned(), s.property("Value").to_owned()))
            .collect()
    };
    sheets().values().flat_map(placed).collect()
}

#[test]
fn everything_is_what_its_one_description_makes_of_it() {
    let out =
        Command::new("python3").arg("-B").arg(design().join("generate.py")).arg("--check").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn every_symbol_is_in_the_bill_and_the_bill_has_nothing_else() {
    let bill = read("bom.csv");
    let mut billed = BTreeSet::new();
    for line in bill.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let references: Vec<&str> = cells[0].split(' ').collect();
        assert_eq!(references.len(), cells[1].parse::<usize>().unwrap(), "{line}");
        assert!(cells.len() >= 7 && cells.iter().all(|cell| !cell.is_empty()), "{line}");
        for reference in references {
            assert!(
                billed.insert((reference.to_owned(), cells[2].to_owned())),
                "{reference} is billed twice"
            );
        }
    }
    let drawn: BTreeSet<_> = symbols().into_iter().collect();
    assert_eq!(drawn.len(), symbols().len(), "a reference is used twice");
    assert!(drawn.len() > 100);
    assert_eq!(drawn, billed);
}

#[test]
fn every_symbol_has_its_drawing_in_the_file_and_is_on_the_rendered_sheet() {
    for (file, sheet) in sheets() {
        let library: BTreeSet<&str> =
            sheet.all("lib_symbols").flat_map(|l| l.all("symbol")).map(|symbol| symbol.word(1)).collect();
        let svg = read(&format!("schematic/{}", file.replace(".kicad_sch", ".svg")));
        for symbol in sheet.all("symbol") {
            let id = symbol.all("lib_id").next().map_or("", |id| id.word(1));
            assert!(library.contains(id), "{file}: {id}");
            let reference = symbol.property("Reference");
            assert!(svg.contains(&format!(">{reference}<")), "{file}: {reference}");
        }
        for label in sheet.all("global_label") {
            assert!(svg.contains(&format!(">{}<", label.word(1))), "{file}: {}", label.word(1));
        }
    }
}

#[test]
fn the_processors_nets_are_those_of_the_pin_table() {
    let all = sheets();
    let processor = &all["processor.kicad_sch"];
    let labels: BTreeSet<&str> = processor.all("global_label").map(|label| label.word(1)).collect();
    let others: BTreeSet<&str> = all
        .iter()
        .filter(|(file, _)| *file != "processor.kicad_sch")
        .flat_map(|(_, sheet)| sheet.all("global_label"))
        .map(|label| label.word(1))
        .collect();
    let pins: Vec<&Node> = processor
        .all("lib_symbols")
        .flat_map(|l| l.all("symbol"))
        .filter(|symbol| symbol.word(1).starts_with("meter:U4_"))
        .flat_map(|symbol| symbol.all("symbol"))
        .flat_map(|unit| unit.all("pin"))
        .collect();
    for line in read("pinout.csv").lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (pin, package, net) = (cells[0], cells[1], cells[4]);
        let found = pins.iter().any(|p| {
            p.all("name").any(|name| name.word(1) == pin)
                && p.all("number").any(|number| number.word(1) == package)
        });
        assert!(found, "U4 has no pin {package} {pin}");
        assert!(labels.contains(net), "{net} is not on the processor's sheet");
        let within = net.starts_with("FRAM_") || net.starts_with("RTC_") || net == "PULSE";
        assert!(within || others.contains(net), "{net} leads nowhere");
    }
}

#[test]
fn everything_says_that_it_was_never_built() {
    for file in sheets().keys() {
        let svg = read(&format!("schematic/{}", file.replace(".kicad_sch", ".svg")));
        assert!(svg.contains("Never built"), "{file}");
    }
    for file in ["front-end.md", "isolation.md", "cabinet.md", "cabinet.svg"] {
        let text = read(file).to_lowercase();
        assert!(text.contains("never built") || text.contains("nothing of this was tested"), "{file}");
    }
}
