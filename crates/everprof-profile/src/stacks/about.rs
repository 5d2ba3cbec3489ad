//! About: what a sample's labels say of a thread or a task, read once.
//!
//! Context: cold. Invariant: of two labels of one key and kind the first counts.
//!
//! Each label is decoded where it stands. Asked for one by one, the labels of 100,000 tasks were
//! decoded sixteen times each.

use super::{
    CREATOR_LABEL, ID_LABEL, NAME_LABEL, STATE_LABEL, TASK_GROUP_LABEL, TASK_ID_LABEL, TASK_LABEL,
    TASK_LEAK_LABEL, TASK_MAKER_LABEL, TASK_PARENT_LABEL, TASK_STATE_LABEL, is_of_thread,
};
use crate::{LabelValue, Sample};

/// Of one sample; what it does not say is `None`.
#[derive(Debug, Default)]
pub(super) struct About<'p> {
    pub(super) id: Option<i64>,
    pub(super) name: Option<&'p str>,
    pub(super) state: Option<&'p str>,
    pub(super) creator: Option<&'p str>,
    pub(super) task_id: Option<i64>,
    pub(super) task_group: Option<i64>,
    pub(super) task_parent: Option<i64>,
    pub(super) task_maker: Option<i64>,
    pub(super) task: Option<&'p str>,
    /// What is no task has none.
    pub(super) task_state: Option<&'p str>,
    pub(super) task_leak: Option<&'p str>,
    /// What the program has set.
    pub(super) labels: Vec<(String, String)>,
}

impl<'p> About<'p> {
    pub(super) fn of(sample: &Sample<'p>) -> Self {
        let mut about = Self::default();
        for label in sample.labels() {
            match label.value {
                LabelValue::Number { value, .. } => {
                    if let Some(place) = about.number(label.key) {
                        place.get_or_insert(value);
                    }
                }
                LabelValue::String(value) => match about.text(label.key) {
                    Some(place) => _ = place.get_or_insert(value),
                    None if is_of_thread(label.key) => {}
                    None => about.labels.push((label.key.to_owned(), value.to_owned())),
                },
            }
        }
        about
    }

    pub(super) fn is_of_task(&self) -> bool {
        self.task_state.is_some()
    }

    fn number(&mut self, key: &str) -> Option<&mut Option<i64>> {
        Some(match key {
            ID_LABEL => &mut self.id,
            TASK_ID_LABEL => &mut self.task_id,
            TASK_GROUP_LABEL => &mut self.task_group,
            TASK_PARENT_LABEL => &mut self.task_parent,
            TASK_MAKER_LABEL => &mut self.task_maker,
            _ => return None,
        })
    }

    fn text(&mut self, key: &str) -> Option<&mut Option<&'p str>> {
        Some(match key {
            NAME_LABEL => &mut self.name,
            STATE_LABEL => &mut self.state,
            CREATOR_LABEL => &mut self.creator,
            TASK_LABEL => &mut self.task,
            TASK_STATE_LABEL => &mut self.task_state,
            TASK_LEAK_LABEL => &mut self.task_leak,
            _ => return None,
        })
    }
}
