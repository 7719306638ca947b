//! The blocks and links of a page.

/// The parts of a page that can be checked.
pub struct Page {
    pub path: String,
    pub blocks: Vec<Block>,
    /// Links to files and headings.
    pub links: Vec<String>,
    runs: Vec<String>,
}

/// A block of code.
pub struct Block {
    pub kind: Kind,
    pub text: String,
    /// The file and line, for messages.
    pub place: String,
}

/// What to do with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SQL that runs before the page's own.
    Prepare,
    Sql,
    Sh,
    /// The output of the block before.
    Text,
    /// A file of client properties.
    Properties,
    /// Rust, which is compiled elsewhere.
    Rust,
}

impl Kind {
    /// The kind by the block's info string. An unknown kind is an error, since the block would
    /// never run.
    fn of(info: &str) -> Option<Self> {
        Some(match info {
            "sql" => Kind::Sql,
            "sh" => Kind::Sh,
            "text" => Kind::Text,
            "properties" => Kind::Properties,
            "rust,no_run" => Kind::Rust,
            _ => return None,
        })
    }
}

impl Page {
    #[track_caller]
    pub fn parse(path: &str, text: &str) -> Self {
        let mut page = Page {
            path: path.to_owned(),
            blocks: Vec::new(),
            links: Vec::new(),
            runs: Vec::new(),
        };
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let place = format!("{path}:{}", number + 1);
            let (kind, end) = if let Some(info) = line.trim_start().strip_prefix("```") {
                let kind = Kind::of(info)
                    .unwrap_or_else(|| panic!("{place}: blocks of `{info}` are not run"));
                (kind, "```")
            } else if line == "<!-- prepare:" {
                (Kind::Prepare, "-->")
            } else {
                let runs = line.strip_prefix("<!-- runs: ");
                let runs = runs.and_then(|rest| rest.strip_suffix(" -->"));
                page.runs.extend(runs.map(str::to_owned));
                page.links.extend(links(line));
                continue;
            };
            let body: Vec<_> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| line.trim() != end)
                .collect();
            page.blocks.push(Block {
                kind,
                text: body.join("\n"),
                place,
            });
        }
        page
    }

    pub fn runs_on(&self, stage: &str) -> bool {
        self.runs.iter().any(|runs| runs == stage)
    }
}

impl Block {
    /// Whether the text is the error of a command that fails.
    pub fn is_error(&self) -> bool {
        self.kind == Kind::Text && self.text.starts_with("Error: ")
    }
}

fn links(line: &str) -> Vec<String> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link.to_owned())
        .filter(|link| !link.contains("://"))
        .collect()
}

/// The headings, as links refer to them.
pub fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    c if c.is_alphanumeric() || matches!(c, '-' | '_') => {
                        Some(c.to_ascii_lowercase())
                    }
                    _ => None,
                })
                .collect()
        })
        .collect()
}

/// Whether a line matches the expected one, in which `..` stands for any text.
pub fn matches(expected: &str, line: &str) -> bool {
    match expected.split_once("..") {
        None => expected == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            (0..=line.len())
                .filter(|at| line.is_char_boundary(*at))
                .any(|at| matches(rest, &line[at..]))
        }),
    }
}

#[test]
fn a_page_is_taken_apart() {
    let text =
        "<!-- runs: demo -->\n[a](b.md#c) [d](https://e)\n```sql\nSELECT 1;\n\nSELECT 2;\n```\n";
    let page = Page::parse("p.md", text);
    assert!(page.runs_on("demo") && !page.runs_on("broker"));
    assert_eq!(page.links, ["b.md#c"]);
    let [block] = &page.blocks[..] else { panic!() };
    assert_eq!(block.kind, Kind::Sql);
    assert_eq!(block.text, "SELECT 1;\n\nSELECT 2;");
    assert_eq!(block.place, "p.md:3");
    assert_eq!(anchors("## What it *is*, in `SQL`"), ["what-it-is-in-sql"]);
}

#[test]
#[should_panic(expected = "blocks of `python` are not run")]
fn a_block_that_nobody_runs_is_an_error() {
    Page::parse("p.md", "```python\n```\n");
}

#[test]
fn two_dots_stand_for_any_text() {
    assert!(matches("a ..:.. c", "a 12:30 c"));
    assert!(!matches("a .. c", "a 12 d"));
    assert!(!matches("a", "a b"));
}
