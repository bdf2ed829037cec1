//! The style guide's budgets: lengths of files and functions, and how often code may give up.
use std::path::Path;

use syn::{spanned::Spanned, visit::Visit};

use crate::tree::{product_sources, shown, text};

const MAX_FILE: usize = 800;
const MAX_FUNCTION: usize = 120;
/// `unwrap` and `expect` calls for each thousand lines of product code.
const MAX_GIVE_UPS: f64 = 2.0;

/// What one source file holds once its tests are cut out.
#[derive(Default)]
struct Measured {
    functions: Vec<(String, usize)>,
    give_ups: Vec<usize>,
    test_lines: usize,
}

impl<'ast> Visit<'ast> for Measured {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test(&module.attrs) {
            self.test_lines += lines(module);
        } else {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            self.functions.push((function.sig.ident.to_string(), lines(function)));
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.functions.push((function.sig.ident.to_string(), lines(function)));
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" || call.method == "expect" {
            self.give_ups.push(call.method.span().start().line);
        }
        syn::visit::visit_expr_method_call(self, call);
    }
}

fn lines(item: &impl Spanned) -> usize {
    let span = item.span();
    span.end().line + 1 - span.start().line
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || path.is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn measure(path: &Path) -> (Measured, usize) {
    let source = text(path);
    let file = syn::parse_file(&source).unwrap_or_else(|e| panic!("{}: {e}", shown(path)));
    let mut measured = Measured::default();
    measured.visit_file(&file);
    let product = source.lines().count() - measured.test_lines;
    (measured, product)
}

#[test]
fn files_and_functions_stay_within_their_budgets() {
    let mut over = Vec::new();
    for path in product_sources() {
        let (measured, lines) = measure(&path);
        if lines > MAX_FILE {
            over.push(format!("{}: {lines} lines of product code, at most {MAX_FILE}", shown(&path)));
        }
        let long = measured.functions.into_iter().filter(|(_, lines)| *lines > MAX_FUNCTION);
        over.extend(long.map(|(name, lines)| format!("{}: fn {name} has {lines} lines", shown(&path))));
    }
    assert!(over.is_empty(), "over budget:\n{}", over.join("\n"));
}

#[test]
fn most_files_and_functions_are_short() {
    let (mut files, mut functions) = (Vec::new(), Vec::new());
    for path in product_sources() {
        let (measured, lines) = measure(&path);
        files.push(lines);
        functions.extend(measured.functions.into_iter().map(|(_, lines)| lines));
    }
    files.sort_unstable();
    functions.sort_unstable();
    let of = |sorted: &[usize], percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    let measured = [of(&files, 50), of(&files, 95), of(&functions, 99)];
    let budgets = [200, 500, 80];
    assert!(
        measured.iter().zip(budgets).all(|(is, most)| *is <= most),
        "lines of a file (median, 95 %) and of a function (99 %): {measured:?}, at most {budgets:?}"
    );
}

#[test]
fn product_code_gives_up_seldom() {
    let (mut lines, mut places) = (0, Vec::new());
    for path in product_sources() {
        let (measured, product) = measure(&path);
        lines += product;
        places.extend(measured.give_ups.into_iter().map(|line| format!("{}:{line}", shown(&path))));
    }
    let rate = places.len() as f64 * 1000.0 / lines as f64;
    assert!(
        rate <= MAX_GIVE_UPS,
        "{rate:.2} unwrap/expect per 1,000 lines ({} in {lines}), at most {MAX_GIVE_UPS}:\n{}",
        places.len(),
        places.join("\n")
    );
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["todo!", "unimplemented!", concat!("TO", "DO"), concat!("FIX", "ME"), "#[ignore"];
    let mut found = Vec::new();
    for path in product_sources() {
        for (number, line) in text(&path).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "unfinished:\n{}", found.join("\n"));
}
