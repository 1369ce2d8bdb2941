use super::*;
use crate::{render::sample, trace::Trace};

const DEDUP: TableOptions = TableOptions { dedup: true, width: None, colour: false };

fn report(trace: &Trace) -> Report<'_> {
    Report { host: "www.example.net", started: sample::STARTED, trace }
}

/// What stands below the verdict.
fn body(trace: &Trace, options: TableOptions) -> String {
    let shown = table(&report(trace), options);
    shown.split_once("\n\n").expect("a verdict").1.to_owned()
}

fn unequal() -> Trace {
    sample::trace(&sample::evidence(
        "1  .  2001:db8::1@90      2001:db8:9::9@2000000!
         2  .  2001:db8::1@100     2001:db8:1:2:3:4:5:6@45600   2001:db8:9::9@123456!
         3  .  2001:db8::1@110     *                            *  *",
    ))
}

#[test]
fn a_row_a_path() {
    let expected = "\
2 paths, 4 hops, 0 % sure to be complete (95 % asked for), 12 probes, 0.31 s

flows  1                   2             3                 4
    2  192.0.2.1           198.51.100.2  198.51.100.20     203.0.113.9
       1.20 ms             2.50 ms       4.00 ms           9.00 ms
       limits its answers                MPLS 16004/24001
    1  \"                   198.51.100.1  *                 \"
                           2.00 ms
";
    assert_eq!(table(&report(&sample::diamond()), DEDUP), expected);
}

#[test]
fn a_row_a_flow_where_their_number_was_given() {
    let flows = |trace: &Trace| {
        let body = body(trace, TableOptions::default());
        let rows: Vec<_> =
            body.lines().map(|line| line.split_whitespace().next().unwrap_or("").to_owned()).collect();
        rows.into_iter().filter(|first| first.parse::<u16>().is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(flows(&sample::diamond()), ["33471", "33482", "33460"]);
    let discovered = Trace { strategy: Strategy::MdaLite, ..sample::diamond() };
    assert_eq!(flows(&discovered), ["2", "1"]);
}

#[test]
fn paths_of_unequal_length_keep_their_columns() {
    let expected = "\
flows  2            3                     4
                    loss 33 %             loss 50 %
    1  2001:db8::1  2001:db8:1:2:3:4:5:6  2001:db8:9::9
       0.100 ms     45.6 ms               123 ms
    1  \"            2001:db8:9::9
                    2000 ms
    1  \"            *                                    not reached
";
    assert_eq!(body(&unequal(), DEDUP), expected);
}

#[test]
fn a_narrow_terminal_has_paths_in_columns_or_below_each_other() {
    let columns = "\
flows      1                     1              1
2          2001:db8::1           \"              \"
           0.100 ms
3          2001:db8:1:2:3:4:5:6  2001:db8:9::9  *
loss 33 %  45.6 ms               2000 ms
4          2001:db8:9::9
loss 50 %  123 ms
                                                not reached
";
    assert_eq!(body(&unequal(), TableOptions { width: Some(59), ..DEDUP }), columns);
    let list = "\
path 1, 1 flow
    2  2001:db8::1  0.100 ms
    3  2001:db8:1:2:3:4:5:6
       45.6 ms  loss 33 %
    4  2001:db8:9::9  123 ms
       loss 50 %
path 2, 1 flow
    2  as above
    3  2001:db8:9::9  2000 ms
       loss 33 %
path 3, 1 flow, not reached
    2  as above
    3  *  loss 33 %
";
    let narrow = body(&unequal(), TableOptions { width: Some(33), ..DEDUP });
    assert_eq!(narrow, list);
    assert!(narrow.lines().all(|line| line.chars().count() <= 33));
}

#[test]
fn wide_goes_on_below_where_a_line_is_full() {
    let options = TableOptions { width: Some(50), ..DEDUP };
    let shown = wide(&report(&unequal()), options);
    let expected = "
flows      1                     1
2          2001:db8::1           \"
           0.100 ms
3          2001:db8:1:2:3:4:5:6  2001:db8:9::9
loss 33 %  45.6 ms               2000 ms
4          2001:db8:9::9
loss 50 %  123 ms

flows      1
2          2001:db8::1
           0.100 ms
3          *
loss 33 %
4
loss 50 %
           not reached
";
    assert_eq!(shown.split_once('\n').map(|(_, rest)| rest), Some(expected));
}

#[test]
fn colours_mark_what_differs_and_nothing_else_changes() {
    let coloured = table(&report(&sample::diamond()), TableOptions { colour: true, ..DEDUP });
    assert!(coloured.contains("\u{1b}[36m198.51.100.2\u{1b}[0m"), "one of two nodes: {coloured}");
    assert!(
        coloured.contains("    2\u{1b}[0m") || coloured.contains("    2  192.0.2.1"),
        "the only node is plain"
    );
    let stripped = anstream::adapter::strip_str(&coloured).to_string();
    assert_eq!(stripped, table(&report(&sample::diamond()), DEDUP));
}

#[test]
fn what_is_not_shown_is_counted() {
    let line = |id: u16| format!("{id} 192.0.2.1@1 10.0.{}.{}@2 192.0.2.9@4!\n", id / 200, id % 200);
    let picture: String = (1..=300).map(line).collect();
    let shown = table(&report(&sample::trace(&sample::evidence(&picture))), DEDUP);
    assert!(shown.ends_with("\n260 more paths not shown; --format json has all flows\n"), "{shown}");
}

#[test]
fn what_flows_took_is_told_where_links_allow_more() {
    // Three of the four ways through two nodes and two more.
    let mesh = "1 192.0.2.1@1 192.0.2.2@2 192.0.2.4@3 192.0.2.9@4!
                2 192.0.2.1@1 192.0.2.2@2 192.0.2.5@3 192.0.2.9@4!
                3 192.0.2.1@1 192.0.2.3@2 192.0.2.4@3 192.0.2.9@4!
                4 192.0.2.1@1 192.0.2.3@2 192.0.2.5@3 .";
    let shown = table(&report(&sample::trace(&sample::evidence(mesh))), DEDUP);
    assert_eq!(
        shown.lines().nth(1),
        Some("flows were seen to take 3 of the paths that the links allow"),
        "{shown}"
    );
}

#[test]
fn names_stand_below_their_addresses() {
    let shown = table(&report(&sample::annotated()), DEDUP);
    for name in ["r1.example.net", "www.example.net"] {
        assert_eq!(shown.matches(name).count(), 1, "where the node is named first: {shown}");
    }
    let (address, name) = (shown.find("192.0.2.1").unwrap(), shown.find("r1.example.net").unwrap());
    assert!(address < name, "{shown}");
}
