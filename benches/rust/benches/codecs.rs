//! Micro-benchmarks of the codecs, without server or socket: messages are decoded and all their values read, and calls are
//! encoded, in both protocols. rmpv, rmp-serde and serde_json do the same work.
//!
//!   scripts/bench --codecs [--quick]
//!   cargo bench --bench codecs -- [--quick] [FILTER]     all or some of them, in benches/rust
//!
//! A benchmark is named decode|encode/msgpack|json/<message>/<library>. Its elements are the values of the result or of
//! the arguments: numbers, strings, booleans and nulls, at any depth; its bytes are those of the message. Before each measurement
//! the benchmark checks that the library decodes or encodes the same values.
//!
//! `wire` is public for tests and benchmarks, and not part of the stable API: see docs/abi.md.

use std::hint::black_box;
use std::sync::Once;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rmpv::ValueRef;
use serde::Serialize;
use serde_json::json;
use wslink::wire::args::Append;
use wslink::wire::builder::Builder;
use wslink::wire::decoder::decode_copy;
use wslink::wire::outgoing::{self, Format, Outgoing};
use wslink::{Args, Kind, Protocol, Value, result};
use wslink_bench::messages::{self, Protocol as Encoding};
use wslink_bench::tree::Tree;

// ---- Decoding ----

/// The publication of a rendered image, without the image.
fn publication() -> serde_json::Value {
    json!({
        "stale": false, "mtime": 2587, "size": [300, 200], "memsize": 5963, "format": "jpeg", "global_id": "1",
        "localTime": 0, "workTime": 83
    })
}

/// The first message for a trame client: the state of the application and its scene, a tree of small maps.
fn scene() -> serde_json::Value {
    let actor = |id: u32| {
        json!({
            "id": format!("0000{id:04x}"), "type": "vtkActor", "parent": "00000002",
            "properties": {
                "visibility": id.is_multiple_of(4), "pickable": true, "origin": [0, 0, 0],
                "position": [f64::from(id) * 0.37, 12.5, 0.0625], "scale": [1, 1, 1], "forceOpaque": false
            },
            "dependencies": [{
                "id": format!("0100{id:04x}"), "type": "vtkMapper",
                "properties": {
                    "scalarRange": [0.1875, 254.3], "colorByArrayName": "Temperature", "scalarVisibility": true,
                    "interpolateScalarsBeforeMapping": false, "fieldDataTupleId": null
                },
                "dependencies": [{
                    "id": format!("0200{id:04x}"), "type": "vtkPolyData",
                    "properties": {
                        "points": {
                            "hash": format!("{:032x}", u128::from(id) * 0x9e37_79b9_7f4a_7c15_f39c),
                            "vtkClass": "vtkPoints", "dataType": "Float32Array", "numberOfComponents": 3, "size": 26532
                        },
                        "fields": [{"name": "Temperature", "location": "pointData", "registration": "setScalars"}]
                    }
                }]
            }]
        })
    };
    json!({
        "name": "viewer",
        "state": {
            "trame__scripts": ["__trame_vuetify3/vuetify3.js", "__trame_vtk/trame-vtk.js"],
            "trame__styles": ["__trame_vuetify3/vuetify3.css", "__trame_vuetify3/css/mdi.css"],
            "trame__busy": 1, "trame__favicon": null, "trame__title": "Viewer",
            "trame__template_main": "<VApp>\n<VMain>\n<vtk-view :ref=\"(el) => trame.refs['view'] = el\" />\n</VMain>\n</VApp>",
            "resolution": 6, "opacity": 0.85, "message": "6 sides"
        },
        "scene": {"id": "00000002", "type": "vtkRenderer", "dependencies": (0..40).map(actor).collect::<Vec<_>>()}
    })
}

/// The number of numbers, strings, booleans and nulls in a value.
fn count(value: Value) -> u64 {
    match value.kind() {
        Kind::Array => value.elements().map(count).sum(),
        Kind::Map => value.pairs().map(|(_, value)| count(value)).sum(),
        _ => 1,
    }
}

/// The sum of all numbers, string sizes and key sizes, like that of [`Tree`].
fn sum(value: Value) -> f64 {
    match value.kind() {
        Kind::Bool => f64::from(u8::from(value.as_bool().expect("truth"))),
        Kind::Int | Kind::Uint | Kind::Float => value.as_f64().expect("number"),
        Kind::String => value.as_str().expect("text").len() as f64,
        Kind::Array => value.elements().map(sum).sum(),
        Kind::Map => value.pairs().map(|(key, value)| sum(key) + sum(value)).sum(),
        _ => 0.0,
    }
}

fn sum_of_json(value: serde_json::Value) -> f64 {
    fn sum(value: &serde_json::Value) -> f64 {
        match value {
            serde_json::Value::Null => 0.0,
            serde_json::Value::Bool(truth) => f64::from(u8::from(*truth)),
            serde_json::Value::Number(number) => number.as_f64().expect("number"),
            serde_json::Value::String(text) => text.len() as f64,
            serde_json::Value::Array(list) => list.iter().map(sum).sum(),
            serde_json::Value::Object(map) => map.iter().map(|(key, value)| key.len() as f64 + sum(value)).sum(),
        }
    }
    sum(&value)
}

/// Measures one library, which must compute the same sum.
fn reader(
    group: &mut BenchmarkGroup<WallTime>,
    library: &str,
    message: &[u8],
    wanted: f64,
    read: impl Fn(&[u8]) -> f64,
) {
    let checked = Once::new();
    group.bench_function(library, |bencher| {
        checked.call_once(|| {
            // Some libraries sort the keys, so they add in another order.
            let got = read(message);
            assert!((got - wanted).abs() <= 1e-9 * wanted.abs(), "{library}: {got} instead of {wanted}");
        });
        bencher.iter(|| read(black_box(message)));
    });
}

fn decode(criterion: &mut Criterion) {
    type Make = fn(Encoding) -> Vec<u8>;
    let results: [(&str, Make); 5] = [
        ("floats", |encoding| messages::list(encoding, "floats", 100_000)),
        ("records", |encoding| messages::list(encoding, "records", 10_000)),
        ("strings", |encoding| messages::list(encoding, "strings", 20_000)),
        ("publication", |encoding| messages::value(encoding, &publication())),
        ("scene", |encoding| messages::value(encoding, &scene())),
    ];
    for (name, make) in results {
        let message = |encoding| messages::message(encoding, "publish:bench.topic:0", &make(encoding));
        let (packed, text) = (message(Encoding::Msgpack), message(Encoding::Json));
        let document = decode_copy(Protocol::V2, &packed).expect("our codec decodes");
        let (elements, wanted) = (count(result(&document)), sum(document.root()));
        drop(document);
        let ours =
            |protocol| move |message: &[u8]| sum(decode_copy(protocol, message).expect("our codec decodes").root());

        let mut group = criterion.benchmark_group(format!("decode/msgpack/{name}"));
        group.throughput(Throughput::ElementsAndBytes { elements, bytes: packed.len() as u64 });
        reader(&mut group, "wslink", &packed, wanted, ours(Protocol::V2));
        reader(&mut group, "rmpv", &packed, wanted, |message| rmpv::Value::decode(message).sum());
        reader(&mut group, "rmpv-ref", &packed, wanted, |message| ValueRef::decode(message).sum());
        reader(&mut group, "rmp-serde", &packed, wanted, |message| {
            sum_of_json(rmp_serde::from_slice(message).expect("msgpack"))
        });
        group.finish();

        let mut group = criterion.benchmark_group(format!("decode/json/{name}"));
        group.throughput(Throughput::ElementsAndBytes { elements, bytes: text.len() as u64 });
        reader(&mut group, "wslink", &text, wanted, ours(Protocol::V1));
        reader(&mut group, "serde_json", &text, wanted, |message| {
            sum_of_json(serde_json::from_slice(message).expect("JSON"))
        });
        group.finish();
    }
}

// ---- Encoding ----

const ID: &str = "rpc:c0123456789abcdef0123456789abcdef:17";
const METHOD: &str = "bench.echo";

/// A call with one argument, for libraries that encode with serde.
#[derive(Serialize)]
struct Call<'a, A> {
    wslink: &'a str,
    id: &'a str,
    method: &'a str,
    args: (A,),
    kwargs: serde_json::Map<String, serde_json::Value>,
}

impl<A> Call<'_, A> {
    fn new(argument: A) -> Self {
        Call { wslink: "1.0", id: ID, method: METHOD, args: (argument,), kwargs: serde_json::Map::new() }
    }
}

/// The call as a tree.
fn packed_tree(argument: rmpv::Value) -> Vec<u8> {
    let call = rmpv::Value::Map(vec![
        ("wslink".into(), "1.0".into()),
        ("id".into(), ID.into()),
        ("method".into(), METHOD.into()),
        ("args".into(), rmpv::Value::Array(vec![argument])),
        ("kwargs".into(), rmpv::Value::Map(Vec::new())),
    ]);
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &call).expect("memory");
    bytes
}

/// A call as the session encodes it, with reused arguments.
fn formed(protocol: Protocol, args: &mut Args, fill: impl Fn(&mut Builder) -> wslink::Result<()>) -> Outgoing {
    let mut format = Format {
        protocol,
        chunk_size: Format::chunk_size(4 << 20),
        upload_limit: u64::MAX,
        next_message: 1,
        next_key: 1,
    };
    args.clear();
    fill(args.target()).expect("our codec takes the argument");
    outgoing::call(&mut format, ID, METHOD, args).expect("our codec encodes")
}

/// The encoded message, without its frames.
fn joined(mut outgoing: Outgoing) -> Vec<u8> {
    let mut bytes = Vec::new();
    while outgoing.next_frame().is_some() {
        while !outgoing.data().is_empty() {
            bytes.extend_from_slice(outgoing.data());
            outgoing.advance(outgoing.data().len());
        }
    }
    bytes
}

/// Measures all libraries with one argument: added by this library, described by serde, and as a tree.
fn writers(
    criterion: &mut Criterion,
    name: &str,
    elements: u64,
    fill: impl Fn(&mut Builder) -> wslink::Result<()>,
    argument: impl Serialize,
    tree: impl Fn() -> rmpv::Value,
) {
    let call = Call::new(argument);
    for (protocol, encoding) in [(Protocol::V2, "msgpack"), (Protocol::V1, "json")] {
        let mut args = Args::new();
        let ours = joined(formed(protocol, &mut args, &fill));
        let parsed = |bytes: &[u8]| -> serde_json::Value {
            match protocol {
                Protocol::V2 => rmp_serde::from_slice(bytes).expect("msgpack"),
                Protocol::V1 => serde_json::from_slice(bytes).expect("JSON"),
            }
        };
        let mut group = criterion.benchmark_group(format!("encode/{encoding}/{name}"));
        group.throughput(Throughput::ElementsAndBytes { elements, bytes: ours.len() as u64 });
        group.bench_function("wslink", |bencher| bencher.iter(|| formed(protocol, &mut args, &fill)));
        let mut writer = |library, write: &dyn Fn() -> Vec<u8>| {
            let checked = Once::new();
            group.bench_function(library, |bencher| {
                checked.call_once(|| assert!(parsed(&ours) == parsed(&write()), "{library} writes something else"));
                bencher.iter(write);
            });
        };
        match protocol {
            Protocol::V2 => {
                writer("rmpv", &|| packed_tree(tree()));
                writer("rmp-serde", &|| rmp_serde::to_vec_named(black_box(&call)).expect("memory"));
            }
            Protocol::V1 => writer("serde_json", &|| serde_json::to_vec(black_box(&call)).expect("memory")),
        }
        group.finish();
    }
}

fn encode(criterion: &mut Criterion) {
    #[derive(Serialize)]
    struct Echo<'a> {
        i: u32,
        s: &'a str,
    }
    writers(
        criterion,
        "small",
        2,
        |to| {
            to.begin_map()?;
            to.key("i")?;
            to.uint(black_box(17))?;
            to.key("s")?;
            to.str("ping")?;
            to.end()
        },
        Echo { i: 17, s: "ping" },
        || rmpv::Value::Map(vec![("i".into(), black_box(17).into()), ("s".into(), "ping".into())]),
    );

    let floats: Vec<f64> = (0..1_000_000).map(messages::float_at).collect();
    writers(
        criterion,
        "floats",
        floats.len() as u64,
        |to| black_box(&floats[..]).append(to),
        &floats,
        || rmpv::Value::Array(black_box(&floats).iter().map(|&float| float.into()).collect()),
    );

    let strings: Vec<String> = (0..100_000).map(messages::string_at).collect();
    writers(
        criterion,
        "strings",
        strings.len() as u64,
        |to| {
            to.begin_array()?;
            black_box(&strings).iter().try_for_each(|text| to.str(text))?;
            to.end()
        },
        &strings,
        || rmpv::Value::Array(black_box(&strings).iter().map(|text| text.as_str().into()).collect()),
    );
}

criterion_group! {
    name = codecs;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = decode, encode
}
criterion_main!(codecs);
