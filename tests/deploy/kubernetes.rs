//! The manifests under `deploy/kubernetes`: held against their schemas and each other, and what they say of privileges against what starts.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::Value;

use crate::{
    copies::copy_program,
    outcome, path, read,
    rules::{self, RULES},
    servers::{Running, get, unused, wait_for},
    skipped, succeed, tool, yaml,
};

const BASE: &str = "deploy/kubernetes/base";
const OURS: [&str; 6] = ["namespace", "serviceaccount", "configmap", "daemonset", "service", "networkpolicy"];
const OPERATORS: [&str; 3] = ["prometheusrule", "servicemonitor", "probe"];
const PROGRAM: &str = env!("CARGO_BIN_EXE_traceflow_exporter");

fn manifest(name: &str) -> Value {
    yaml(&read(&format!("{BASE}/{name}.yaml")))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

#[test]
fn manifests_have_the_shape_of_their_kinds() {
    let files = |names: &[&str]| names.iter().map(|name| format!("{BASE}/{name}.yaml")).collect::<Vec<_>>();
    let said = succeed(tool("kubernetes-validate").arg("--strict").args(files(&OURS)));
    assert_eq!(said.matches(" passed ").count(), OURS.len(), "{said}");
    let mut check = tool("check-jsonschema");
    check.args(["--schemafile", "tests/deploy/operator.schema.json"]).args(files(&OPERATORS));
    succeed(&mut check);
}

#[test]
fn kustomization_names_every_manifest_and_no_other() {
    let kustomization = manifest("kustomization");
    let named: BTreeSet<_> = kustomization["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap().to_owned())
        .collect();
    let there =
        fs::read_dir(path(BASE)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<_> = there.filter(|name| name != "kustomization.yaml").collect();
    assert_eq!(named, there);
    let checked: BTreeSet<_> = OURS.iter().chain(&OPERATORS).map(|name| format!("{name}.yaml")).collect();
    assert_eq!(checked, there, "all are held against a schema");
    assert_eq!(
        kustomization["images"][0]["name"],
        manifest("daemonset").pointer("/spec/template/spec/containers/0/image").unwrap().clone()
    );
}

/// What kustomize does not know it refuses; it is not here to be asked.
#[test]
fn kustomizations_have_keys_that_kustomize_knows() {
    let keys = |value: &Value, known: &[&str]| {
        let unknown: Vec<_> =
            value.as_object().unwrap().keys().filter(|key| !known.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    };
    for name in [BASE, "deploy/kubernetes/host-network"] {
        let kustomization = yaml(&read(&format!("{name}/kustomization.yaml")));
        assert_eq!(kustomization["apiVersion"], "kustomize.config.k8s.io/v1beta1", "{name}");
        assert_eq!(kustomization["kind"], "Kustomization", "{name}");
        keys(&kustomization, &["apiVersion", "kind", "namespace", "resources", "images", "patches"]);
        for image in kustomization["images"].as_array().into_iter().flatten() {
            keys(image, &["name", "newName", "newTag"]);
        }
        for patch in kustomization["patches"].as_array().into_iter().flatten() {
            keys(patch, &["target", "patch"]);
            keys(&patch["target"], &["kind", "name"]);
        }
    }
    let base = manifest("kustomization");
    assert_eq!(base["namespace"], *manifest("namespace").pointer("/metadata/name").unwrap());
    assert!(text(&base, "/images/0/newName").contains('/') && base.pointer("/images/0/newTag").is_some());
}

/// The overlay changes what the base has.
#[test]
fn the_overlay_finds_what_it_patches() {
    let overlay = yaml(&read("deploy/kubernetes/host-network/kustomization.yaml"));
    assert_eq!(overlay["resources"], serde_json::json!(["../base"]));
    let daemonset = manifest("daemonset");
    let target = &overlay["patches"][0]["target"];
    assert_eq!((&target["kind"], &target["name"]), (&daemonset["kind"], &daemonset["metadata"]["name"]));
    let mut patched = daemonset;
    for operation in yaml(text(&overlay, "/patches/0/patch")).as_array().unwrap() {
        assert_eq!(operation["op"], "add");
        let (parent, key) = text(operation, "/path").rsplit_once('/').unwrap();
        patched.pointer_mut(parent).unwrap()[key] = operation["value"].clone();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("daemonset.yaml");
    fs::write(&file, patched.to_string()).unwrap();
    succeed(tool("kubernetes-validate").arg("--strict").arg(&file));
    assert_eq!(patched.pointer("/spec/template/spec/hostNetwork"), Some(&Value::Bool(true)));
}

/// Names, labels and ports by which one finds the other.
#[test]
fn manifests_find_each_other() {
    let [namespace, account, config, daemonset, service, policy] = OURS.map(manifest);
    let [_, monitor, probe] = OPERATORS.map(manifest);
    let labels = daemonset.pointer("/spec/template/metadata/labels").unwrap();
    for (finder, pointer) in [
        (&daemonset, "/spec/selector/matchLabels"),
        (&service, "/spec/selector"),
        (&policy, "/spec/podSelector/matchLabels"),
    ] {
        assert_eq!(finder.pointer(pointer), Some(labels), "{pointer}");
    }
    assert_eq!(monitor.pointer("/spec/selector/matchLabels"), service.pointer("/metadata/labels"));
    let pod = daemonset.pointer("/spec/template/spec").unwrap();
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(pod.pointer("/volumes/0/configMap/name"), config.pointer("/metadata/name"));
    let container = &pod["containers"][0];
    let port = text(container, "/ports/0/name");
    assert_eq!(container.pointer("/ports/0/containerPort"), service.pointer("/spec/ports/0/port"));
    assert_eq!(text(&service, "/spec/ports/0/targetPort"), port);
    assert_eq!(text(&monitor, "/spec/endpoints/0/port"), text(&service, "/spec/ports/0/name"));
    assert_eq!(text(&policy, "/spec/ingress/0/ports/0/port"), port);
    for check in ["livenessProbe", "readinessProbe"] {
        assert_eq!(text(container, &format!("/{check}/httpGet/port")), port);
    }
    let url = format!(
        "{}.{}.svc:{}",
        text(&service, "/metadata/name"),
        text(&namespace, "/metadata/name"),
        service.pointer("/spec/ports/0/port").unwrap()
    );
    assert_eq!(text(&probe, "/spec/prober/url"), url);
    assert_eq!(text(&probe, "/spec/prober/path"), "/probe");
    // Neither NET_RAW nor hostPath is in what `baseline` allows.
    assert_eq!(
        namespace.pointer("/metadata/labels/pod-security.kubernetes.io~1enforce").unwrap(),
        "privileged"
    );
    for name in OURS.iter().skip(1).chain(&OPERATORS) {
        assert_eq!(
            manifest(name).pointer("/metadata/namespace"),
            namespace.pointer("/metadata/name"),
            "{name}"
        );
    }
}

/// The files of the ConfigMap where the container has them, with the container's arguments.
#[test]
fn the_exporter_takes_its_configuration_and_arguments() {
    let config = manifest("configmap");
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in config["data"].as_object().unwrap() {
        fs::write(directory.path().join(name), content.as_str().unwrap()).unwrap();
    }
    let daemonset = manifest("daemonset");
    let container = daemonset.pointer("/spec/template/spec/containers/0").unwrap();
    let mounted = text(container, "/volumeMounts/0/mountPath");
    let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    let arguments = arguments.map(|argument| argument.replace(mounted, directory.path().to_str().unwrap()));
    let said = succeed(Command::new(PROGRAM).args(arguments).arg("--config.check"));
    assert!(said.contains("ok, 1 target"), "{said}");
    let exporter = yaml(text(&config, "/data/exporter.yaml"));
    let probe = manifest("probe");
    assert!(exporter["modules"].get(text(&probe, "/spec/module")).is_some());
    let allowed = text(&exporter, "/probe/allow/0").trim_start_matches('*');
    assert!(text(&probe, "/spec/targets/staticConfig/static/0").ends_with(allowed));
}

/// As in the pod, but for addresses and paths, and with a target on this machine. What the kubelet asks is answered, and what the exporter keeps
/// is where it may write and where it outlasts the pod.
#[test]
fn the_kubelet_finds_the_exporter_well() {
    if skipped() {
        return;
    }
    let (config, daemonset) = (manifest("configmap"), manifest("daemonset"));
    let pod = daemonset.pointer("/spec/template/spec").unwrap();
    let container = &pod["containers"][0];
    let directory = tempfile::tempdir().unwrap();
    let address = unused();
    let mut arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let storage =
        arguments.iter().find_map(|argument| argument.strip_prefix("--storage.path=")).unwrap().to_owned();
    let mut kept = None;
    for mount in container["volumeMounts"].as_array().unwrap() {
        let (name, place) = (text(mount, "/name"), text(mount, "/mountPath"));
        let here = directory.path().join(name);
        fs::create_dir(&here).unwrap();
        if place == storage {
            assert!(mount.get("readOnly").is_none(), "{mount}");
            kept = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == name);
        }
        for argument in &mut arguments {
            *argument = argument.replace(place, here.to_str().unwrap());
        }
    }
    assert!(kept.unwrap().get("hostPath").is_some(), "a new pod begins anew");
    for (name, content) in config["data"].as_object().unwrap() {
        let local = content.as_str().unwrap().replace("www.example.net", "127.0.0.1");
        fs::write(directory.path().join("config").join(name), local).unwrap();
    }
    arguments.push(format!("--web.listen-address={address}"));
    let exporter = Running::start(PROGRAM, &arguments, directory.path().join("log"));
    for check in ["livenessProbe", "readinessProbe"] {
        let path = text(container, &format!("/{check}/httpGet/path"));
        wait_for(check, &exporter, || get(&format!("http://{address}{path}")).is_some());
    }
    assert_ne!(
        container.pointer("/livenessProbe/httpGet/path"),
        container.pointer("/readinessProbe/httpGet/path")
    );
    let metrics = get(&format!("http://{address}/metrics")).unwrap();
    // The rules are tuned for a round a minute.
    for line in [
        "traceflow_target_up{target=\"127.0.0.1\"} 1",
        "traceflow_target_interval_seconds{target=\"127.0.0.1\"} 60",
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line}");
    }
    assert!(directory.path().join("state/127.0.0.1.state").exists());
}

/// What the Prometheus operator knows of an endpoint of a service, as far as it may be of use here; a label that is not known is empty.
const META: [&str; 6] = [
    "__meta_kubernetes_namespace",
    "__meta_kubernetes_pod_name",
    "__meta_kubernetes_pod_ip",
    "__meta_kubernetes_pod_node_name",
    "__meta_kubernetes_service_name",
    "__meta_kubernetes_endpoint_node_name",
];

#[test]
fn an_exporter_is_known_by_its_node() {
    let monitor = manifest("servicemonitor");
    let relabelings = monitor.pointer("/spec/endpoints/0/relabelings").unwrap().as_array().unwrap();
    for source in relabelings.iter().flat_map(|relabeling| relabeling["sourceLabels"].as_array().unwrap()) {
        assert!(META.contains(&source.as_str().unwrap()), "{source}");
    }
    assert_eq!(
        *relabelings,
        [
            serde_json::json!({ "sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "instance" })
        ]
    );
}

#[test]
fn the_manifest_of_rules_is_made_of_the_rules() {
    let made = succeed(&mut Command::new(path("scripts/make-prometheusrule")));
    assert!(made == read(&format!("{BASE}/prometheusrule.yaml")), "they differ: run `make manifests`");
    assert_eq!(manifest("prometheusrule")["spec"], yaml(&read(RULES)));
    assert!(rules::alerts().len() > 10);
}

/// What daemonset.yaml says of users, capabilities and `allowPrivilegeEscalation`, with what a container runtime makes of them.
#[test]
fn only_those_combinations_start_that_are_said_to() {
    if skipped() {
        return;
    }
    let daemonset = manifest("daemonset");
    let security = daemonset.pointer("/spec/template/spec/containers/0/securityContext").unwrap();
    let expected = serde_json::json!({
        "runAsUser": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"], "add": ["NET_RAW"] }
    });
    assert_eq!(*security, expected);

    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str| directory.path().join(name);
    // As the image has it.
    copy_program(PROGRAM, &file("program"));
    succeed(Command::new("setcap").arg("cap_net_raw+p").arg(file("program")));
    fs::write(file("config.yaml"), "targets: [{ name: self, host: 127.0.0.1 }]\n").unwrap();

    let net_raw = ["--bounding-set=-all,+net_raw", "--inh-caps=-all"];
    let nothing = ["--bounding-set=-all", "--inh-caps=-all"];
    let user = ["--reuid=65532", "--regid=65532", "--clear-groups"];
    // A process of its own: what a user keeps while it changes, a container runtime has taken away before.
    let strict = ["setpriv", "--no-new-privs"];
    let command = |how: &[&[&str]]| -> Vec<String> {
        let address = format!("--web.listen-address={}", unused());
        let config = format!("--config.file={}", file("config.yaml").display());
        let mut words: Vec<_> =
            how.iter().flat_map(|part| part.iter().map(|&word| word.to_owned())).collect();
        words.extend([file("program").display().to_string(), config, address]);
        words
    };
    for how in [&[&net_raw[..], &strict][..], &[&net_raw, &user]] {
        let command = command(how);
        let address = command.last().unwrap().split_once('=').unwrap().1.to_owned();
        let exporter = Running::start("setpriv", &command, file("log"));
        wait_for("the first round", &exporter, || get(&format!("http://{address}/-/ready")).is_some());
        let metrics = get(&format!("http://{address}/metrics")).unwrap();
        assert!(metrics.contains("traceflow_target_up{target=\"self\"} 1"), "{command:?}");
    }
    for how in [&[&net_raw[..], &user, &strict][..], &[&nothing, &strict], &[&nothing, &user]] {
        let command = command(how);
        // It would run for ever where it starts.
        let (success, said) = outcome(Command::new("timeout").args(["20", "setpriv"]).args(&command));
        assert!(!success && said.lines().count() == 1, "{command:?}: {said}");
        assert!(said.contains("raw sockets need the capability CAP_NET_RAW"), "{said}");
    }
}
