//! The documents tell the truth about the tree.
use std::collections::BTreeSet;

use crate::tree::{files, root, shown, text};

const DOCUMENTS: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/strictness.md"];

/// The texts between single backquotes that look like paths of this repository.
fn named_paths(document: &str) -> BTreeSet<String> {
    let mut inside_block = false;
    let mut paths = BTreeSet::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            inside_block = !inside_block;
            continue;
        }
        if inside_block {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        paths.extend(quoted.filter(|quoted| is_path(quoted)).map(|path| path.trim_end_matches('/').to_owned()));
    }
    paths
}

fn is_path(text: &str) -> bool {
    let tops = [
        "proto/",
        "mesh/",
        "certs/",
        "proxy/",
        "control-plane/",
        "cli/",
        "tests/",
        "docs/",
        "xtask/",
        "benches/",
        ".ci/",
        "charts/",
        "dashboard/",
    ];
    tops.iter().any(|top| text.starts_with(top)) && !text.contains(|c: char| c.is_whitespace() || c == '*' || c == '<')
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        for path in named_paths(&text(&root().join(document))) {
            if !root().join(&path).exists() {
                missing.push(format!("{document}: `{path}`"));
            }
        }
    }
    assert!(missing.is_empty(), "no such path:\n{}", missing.join("\n"));
}

/// Each invariant ends with `Guarded by` and names of tests, or with `not yet guarded`.
#[test]
fn every_invariant_names_a_test_that_exists_or_says_that_there_is_none() {
    let document = text(&root().join("ARCHITECTURE.md"));
    let section = document.split("## Invariants").nth(1).expect("ARCHITECTURE.md has a section Invariants");
    let section = section.split("\n## ").next().unwrap_or_default();
    let sources: String = files(&root(), "rs").iter().map(|path| text(path)).collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for paragraph in section.split("\n\n").filter(|it| it.trim_start().starts_with(|c: char| c.is_ascii_digit())) {
        count += 1;
        let title: String = paragraph.trim().chars().take(60).collect();
        if let Some(guards) = paragraph.split("Guarded by").nth(1) {
            let names: Vec<_> = guards.split('`').skip(1).step_by(2).collect();
            let missing = names.iter().filter(|name| {
                let function = name.rsplit("::").next().unwrap_or(name);
                !is_path(name) && !sources.contains(&format!("fn {function}("))
            });
            wrong.extend(missing.map(|name| format!("{title}…: no test {name}")));
            if names.is_empty() {
                wrong.push(format!("{title}…: names no test"));
            }
        } else if !paragraph.contains("not yet guarded") {
            wrong.push(format!("{title}…: neither `Guarded by` nor `not yet guarded`"));
        }
    }
    assert_eq!(count, 10, "ARCHITECTURE.md lists the ten invariants as numbered paragraphs");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The last column of the table names tests.
#[test]
fn every_rule_of_strictness_names_tests_that_exist() {
    let sources: String = files(&root(), "rs").iter().map(|path| text(path)).collect();
    let document = text(&root().join("docs/strictness.md"));
    let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| S")).collect();
    assert!(rows.len() > 15, "{} rules", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let names: Vec<_> = shown.split('`').skip(1).step_by(2).filter(|name| *name != "table").collect();
        let missing = names.iter().filter(|name| !sources.contains(&format!("fn {name}(")));
        wrong.extend(missing.map(|name| format!("no test {name}: {row}")));
        if !shown.contains('`') {
            wrong.push(format!("names no test: {row}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_of_tests_are_sentences() {
    let mut wrong = Vec::new();
    for path in files(&root(), "rs") {
        let source = text(&path);
        let lines: Vec<_> = source.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let is_test = pair[0] == "#[test]" || pair[0].starts_with("#[tokio::test");
            let name = pair[1].trim_start_matches("async ").strip_prefix("fn ").and_then(|it| it.split('(').next());
            if let (true, Some(name)) = (is_test, name)
                && (name.starts_with("test_") || name.split('_').count() < 3)
            {
                wrong.push(format!("{}: {name}", shown(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "not a sentence:\n{}", wrong.join("\n"));
}
