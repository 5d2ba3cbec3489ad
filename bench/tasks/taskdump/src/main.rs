//! Tokio's own task dumps. To be built with `--cfg tokio_unstable`.

struct Taskdump;

impl work::Peer for Taskdump {
    async fn dump() -> Option<(usize, usize)> {
        let dump = tokio::runtime::Handle::current().dump().await;
        let traces = dump.tasks().iter().map(|task| task.trace().to_string());
        let sizes: Vec<usize> = traces.map(|text| text.len()).collect();
        Some((sizes.len(), sizes.iter().sum()))
    }
}

fn main() {
    work::main::<Taskdump>();
}
