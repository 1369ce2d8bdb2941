use super::*;

fn layers(nodes: &[usize]) -> Vec<Layer> {
    nodes
        .iter()
        .map(|&nodes| Layer { nodes, width: 80.0, pitch: if nodes > 8 { 13.0 } else { 50.0 } })
        .collect()
}

fn spans(links: &[(usize, usize, usize)]) -> Vec<Span> {
    links.iter().map(|&(layer, from, to)| Span { layer, from, to }).collect()
}

/// The crossings of a layout, read from where its nodes stand.
fn crossed(layers: &[Layer], spans: &[Span]) -> usize {
    let layout = lay_out(layers, spans);
    let order: Vec<_> = layout
        .places
        .iter()
        .map(|places| {
            let mut order: Vec<_> = (0..places.len()).collect();
            order.sort_by(|one, other| places[*one].y.total_cmp(&places[*other].y));
            order
        })
        .collect();
    crossings(layers, spans, &order)
}

#[test]
fn crossings_are_counted() {
    let square = layers(&[2, 2]);
    let cross = spans(&[(0, 0, 1), (0, 1, 0)]);
    assert_eq!(crossings(&square, &cross, &[vec![0, 1], vec![0, 1]]), 1);
    assert_eq!(crossings(&square, &cross, &[vec![0, 1], vec![1, 0]]), 0);
    let full = spans(&[(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]);
    assert_eq!(crossings(&square, &full, &[vec![0, 1], vec![0, 1]]), 1, "there is no way without");
}

#[test]
fn few_links_cross() {
    let complete: Vec<_> = (0..4).flat_map(|from| (0..4).map(move |to| (0, from, to))).collect();
    let braid: Vec<_> = (0..4).flat_map(|n| [(0, 0, n), (1, n, 3 - n), (2, n, 0)]).collect();
    let tree: Vec<_> = (0..3).map(|n| (0, 0, n)).chain((0..9).map(|n| (1, n % 3, n))).collect();
    let meshes = [(0, 0, 0), (0, 0, 2), (0, 2, 0), (0, 2, 2), (0, 1, 1), (0, 1, 3), (0, 3, 1), (0, 3, 3)];
    // What it is, nodes of each layer, links, crossings of the best order.
    let cases = [
        ("two crossed links", &[2, 2][..], spans(&[(0, 0, 1), (0, 1, 0)]), 0),
        ("a braid that can be undone", &[1, 4, 4, 1], spans(&braid), 0),
        ("a tree whose leaves come in a bad order", &[1, 3, 9], spans(&tree), 0),
        ("two meshes, interleaved: each has its one crossing", &[4, 4], spans(&meshes), 2),
        (
            "every one linked to every one: 6 * 6 pairs cross however they stand",
            &[4, 4],
            spans(&complete),
            36,
        ),
    ];
    for (what, nodes, links, expected) in cases {
        assert_eq!(crossed(&layers(nodes), &links), expected, "{what}");
    }
}

/// Random layered graphs, some with nodes that nothing links to.
fn random(seed: u64) -> (Vec<Layer>, Vec<Span>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let counts: Vec<_> = (0..rng.usize(1..10)).map(|_| rng.usize(1..20)).collect();
    let mut links = Vec::new();
    for (layer, pair) in counts.windows(2).enumerate() {
        for _ in 0..rng.usize(0..40) {
            links.push((layer, rng.usize(0..pair[0]), rng.usize(0..pair[1])));
        }
    }
    links.sort_unstable();
    links.dedup();
    (layers(&counts), spans(&links))
}

#[test]
fn no_two_nodes_overlap_and_all_are_inside_the_frame() {
    for seed in 0..200 {
        let (layers, spans) = random(seed);
        let layout = lay_out(&layers, &spans);
        assert_eq!(layout.places.len(), layers.len());
        let mut right = 0.0;
        for (places, layer) in layout.places.iter().zip(&layers) {
            assert_eq!(places.len(), layer.nodes, "{seed}");
            let mut heights: Vec<_> = places.iter().map(|place| place.y).collect();
            heights.sort_by(f64::total_cmp);
            assert!(
                heights.windows(2).all(|pair| pair[1] - pair[0] >= layer.pitch - 1e-6),
                "{seed}: {heights:?}"
            );
            let half = layer.pitch / 2.0 - 1e-6;
            assert!(heights.iter().all(|y| *y >= half && *y <= layout.height - half), "{seed}: {heights:?}");
            for place in places {
                assert!(place.x - layer.width / 2.0 >= right, "{seed}: layers overlap");
                assert!(place.x + layer.width / 2.0 <= layout.width + 1e-6, "{seed}: outside");
            }
            right = places[0].x + layer.width / 2.0;
        }
    }
}

#[test]
fn an_order_is_never_worse_than_the_one_given() {
    for seed in 0..200 {
        let (layers, spans) = random(seed);
        let given: Vec<Vec<usize>> = layers.iter().map(|layer| (0..layer.nodes).collect()).collect();
        assert!(crossed(&layers, &spans) <= crossings(&layers, &spans, &given), "{seed}");
    }
}

#[test]
fn chains_are_straight_and_a_diamond_is_symmetric() {
    // Divides into three branches of four nodes and joins again.
    let branches = (0..3).flat_map(|n| [(1, 0, n), (2, n, n), (3, n, n), (4, n, n), (5, n, 0)]);
    let links: Vec<_> = [(0, 0, 0)].into_iter().chain(branches).chain([(6, 0, 0)]).collect();
    let layout = lay_out(&layers(&[1, 1, 3, 3, 3, 3, 1, 1]), &spans(&links));
    let y = |layer: usize, node: usize| layout.places[layer][node].y;
    for layer in 3..6 {
        for node in 0..3 {
            assert!(
                (y(layer, node) - y(2, node)).abs() < 0.5,
                "branch {node} bends at {layer}: {:?}",
                layout.places
            );
        }
    }
    for end in [0, 1, 6, 7] {
        assert!((y(end, 0) - y(2, 1)).abs() < 0.5, "the middle branch lies on the axis");
    }
    assert!(((y(2, 0) + y(2, 2)) / 2.0 - y(2, 1)).abs() < 0.5);
}

#[test]
fn the_same_graph_looks_the_same_and_nothing_is_nothing() {
    let (layers, spans) = random(7);
    assert_eq!(lay_out(&layers, &spans), lay_out(&layers, &spans));
    assert_eq!(lay_out(&[], &[]).places.len(), 0);
    let odd = [Span { layer: 9, from: 0, to: 0 }, Span { layer: 0, from: 5, to: 0 }];
    assert_eq!(lay_out(&layers[..1], &odd).places.len(), 1, "links without ends are left out of account");
}
