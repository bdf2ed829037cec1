//! Text that means harm: every bound holds, and nothing panics.
use proptest::prelude::*;
use weft_model::{Code, Decoded, decode, encode, strategies};

/// The only finding of a text that holds no object.
fn refusal(text: &str) -> (Code, String) {
    let Decoded { objects, diagnostics } = decode("-", text);
    assert!(objects.is_empty());
    assert_eq!(diagnostics.len(), 1, "{diagnostics:#?}");
    (diagnostics[0].code, diagnostics[0].text.clone())
}

#[test]
fn a_text_over_4_mib_is_refused_unread() {
    assert_eq!(refusal(&"#".repeat((4 << 20) + 1)).0, Code::TooLarge);
    assert_eq!(decode("-", &"#".repeat(4 << 20)), Decoded::default());
}

#[test]
fn nesting_over_64_levels_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(refusal(&nested(64)).0, Code::WrongType);
    let too_deep = "lists and maps are nested more than 64 deep";
    for text in [nested(65), nested(100_000), "- ".repeat(100_000), "? ".repeat(100_000), "{\"a\":".repeat(100_000)] {
        assert_eq!(refusal(&text), (Code::TooLarge, too_deep.to_owned()));
    }
}

#[test]
fn depth_that_aliases_build_up_is_refused() {
    let tower: String = (1..40).map(|i| format!("a{i}: &a{i} [[*a{}]]\n", i - 1)).collect();
    assert_eq!(refusal(&format!("a0: &a0 []\n{tower}")).0, Code::TooLarge);
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    assert_eq!(refusal(&bomb), (Code::TooLarge, "anchors and aliases repeat more than 1 MiB of the text".to_owned()));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(10_000));
    assert_eq!(refusal(&long).0, Code::TooLarge);
    let nested = format!("{}{}{}", "&a [".repeat(60), "x, ".repeat(100_000), "]".repeat(60));
    assert_eq!(refusal(&nested).0, Code::TooLarge);
}

#[test]
fn an_alias_inside_what_it_names_is_refused() {
    assert_eq!(refusal("a: &a [*a]\n").0, Code::Syntax);
}

#[test]
fn more_than_10_000_documents_are_refused() {
    assert_eq!(refusal(&"---\n".repeat(10_002)).0, Code::TooLarge);
}

#[test]
fn more_than_500_000_values_are_refused() {
    assert_eq!(refusal(&format!("[{}]", "a,".repeat(600_000))).0, Code::TooLarge);
}

#[test]
fn findings_are_bounded_and_say_how_many_are_left_out() {
    let decoded = decode("-", &"--- a\n".repeat(5000));
    assert_eq!(decoded.diagnostics.len(), 1000);
    assert_eq!(decoded.diagnostics[999].text, "4001 more errors are not shown");
}

#[test]
fn compiling_expressions_is_bounded() {
    let route = |number: usize| {
        let matches: String =
            (0..64).map(|i| format!("{{path: {{type: RegularExpression, value: 'a{number}-{i}'}}}}, ")).collect();
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{number}}}\nspec:\n  \
             parentRefs: [{{group: '', kind: Service, name: a}}]\n  rules:\n  - matches: [{matches}]\n    \
             backendRefs: [{{name: a, port: 80}}]\n"
        )
    };
    let decoded = decode("-", &(0..8).map(route).collect::<String>());
    assert_eq!(decoded.objects.len(), 7);
    assert!(decoded.diagnostics.iter().all(|it| it.text == "the text has more than 500 different expressions"));
    assert_eq!(decoded.diagnostics.len(), 12);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        decode("-", &text);
    }

    #[test]
    fn no_text_of_yaml_signs_panics(text in "[-?:,\\[\\]{}#&*!|>'\"%@`~a1 \n\t.]{0,80}") {
        decode("-", &text);
    }

    #[test]
    fn no_change_of_a_valid_document_panics(
        objects in proptest::collection::vec(strategies::object(), 1..3),
        as_json: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_usize, "[-?:,\\[\\]{}#&*!|>'\"a0 \n~]"), 1..6),
    ) {
        let write = |object| if as_json { encode::to_json(object).to_string() } else { encode::to_yaml(object) };
        let mut text: Vec<char> = objects.iter().map(write).collect::<Vec<_>>().join("\n---\n").chars().collect();
        for (place, length, inserted) in changes {
            let start = place.index(text.len() + 1);
            let end = text.len().min(start + length);
            text.splice(start..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        let decoded = decode("-", &text);
        // Whatever was still taken is a value of its type: it can be written and read again.
        for (object, _) in decoded.objects {
            let again = decode("-", &encode::to_yaml(&object));
            prop_assert_eq!(&again.diagnostics, &[]);
            prop_assert_eq!(&again.objects[0].0, &object);
        }
    }
}
