//! Did you mean …?

/// The known name nearest to `text`: at most a third of its characters differ, and case does not count.
pub(super) fn suggestion<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    if text.len() > 64 {
        return None;
    }
    let text = text.to_lowercase();
    let nearest = known.iter().map(|name| (distance(&text, &name.to_lowercase()), *name)).min_by_key(|(far, _)| *far);
    nearest.filter(|(far, name)| *far <= (name.len() / 3).max(1)).map(|(_, name)| name)
}

/// Levenshtein's distance: how many characters to insert, delete or replace.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, from) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (to, above) in other.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != *to)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["rules", "parentRefs", "hostnames"];
        assert_eq!(suggestion("rulez", &known), Some("rules"));
        assert_eq!(suggestion("parentrefs", &known), Some("parentRefs"));
        assert_eq!(suggestion("backend", &known), None);
        assert_eq!(suggestion(&"r".repeat(100), &known), None);
    }

    #[test]
    fn distance_counts_edits() {
        for (one, other, expected) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
