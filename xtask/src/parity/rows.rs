//! The rows of docs/parity.md, in the order of the origin.
//!
//! Invariant: what a row says is here is declared where it says, and shown by its tests;
//! `cargo xtask parity --check` holds it to that.

/// One thing that the origin does, and where it is here.
pub(super) struct Row {
    /// Its name there, as markdown.
    pub(super) origin: &'static str,
    pub(super) items: &'static [Item],
    pub(super) tests: &'static [Test],
}

/// Something declared in the code.
pub(super) struct Item {
    /// Its name, as markdown.
    pub(super) shown: &'static str,
    pub(super) file: &'static str,
    /// The beginning of its declaration, as it stands there.
    pub(super) declared: &'static str,
}

/// A test.
pub(super) struct Test {
    pub(super) file: &'static str,
    pub(super) name: &'static str,
}

const HEAP: &str = "crates/everprof/src/heap.rs";
const MANAGED: &str = "crates/everprof/src/heap/managed.rs";
const BLOCK: &str = "crates/everprof/src/block.rs";
const MUTEX: &str = "crates/everprof/src/mutex.rs";
const THREADCREATE: &str = "crates/everprof/src/threadcreate.rs";
const THREADS: &str = "crates/everprof/src/threads.rs";
const TASKS: &str = "crates/everprof/src/tasks.rs";
const TASKS_TESTS: &str = "crates/everprof/tests/tasks.rs";
const STACKS: &str = "crates/everprof/src/stacks.rs";
const PROFILE: &str = "crates/everprof/src/profile.rs";
const TABLE: &str = "crates/everprof-core/src/table.rs";
const TABLE_TESTS: &str = "crates/everprof-core/src/table/tests.rs";
const HEAP_TESTS: &str = "crates/everprof/tests/heap.rs";
const HTTP_TESTS: &str = "crates/everprof/tests/http.rs";
const STATISTICS: &str = "crates/everprof-core/tests/heap_statistics.rs";
const WAITS_TESTS: &str = "crates/everprof-core/src/waits/tests.rs";

const fn item(shown: &'static str, file: &'static str, declared: &'static str) -> Item {
    Item {
        shown,
        file,
        declared,
    }
}

const fn test(file: &'static str, name: &'static str) -> Test {
    Test { file, name }
}

const fn row(origin: &'static str, items: &'static [Item], tests: &'static [Test]) -> Row {
    Row {
        origin,
        items,
        tests,
    }
}

pub(super) const ROWS: &[Row] = &[
    row(
        "`MemProfileRate` (0, 1, n)",
        &[
            item("`heap::set_period`", HEAP, "pub fn set_period("),
            item("`heap::period`", HEAP, "pub fn period("),
        ],
        &[
            test(STATISTICS, "period_1_is_exact_for_each_stack_and_size"),
            test(STATISTICS, "nine_sizes_are_right_allocated_and_in_use"),
            test(STATISTICS, "period_may_change_while_objects_are_in_use"),
            test(
                "crates/everprof-core/src/sampler.rs",
                "off_records_nothing_and_looks_seldom",
            ),
        ],
    ),
    row(
        "`MemProfile`, `MemProfileRecord`, `InUseBytes`, `InUseObjects`",
        &[
            item("`heap::records`", HEAP, "pub fn records("),
            item("`HeapRecord`", HEAP, "pub struct HeapRecord<"),
            item("`in_use_bytes`", HEAP, "pub fn in_use_bytes("),
            item("`in_use_objects`", HEAP, "pub fn in_use_objects("),
            item("`IncludeFreed`", HEAP, "pub enum IncludeFreed"),
        ],
        &[
            test(
                HEAP_TESTS,
                "records_tell_samples_and_estimates_and_leave_out_what_is_freed",
            ),
            test(HEAP_TESTS, "every_site_has_its_exact_objects_and_bytes"),
        ],
    ),
    row(
        "`iterate_memprof`",
        &[
            item("`heap::for_each`", HEAP, "pub fn for_each("),
            item("`Managed::for_each`", MANAGED, "pub fn for_each("),
        ],
        &[test(
            HEAP_TESTS,
            "records_tell_samples_and_estimates_and_leave_out_what_is_freed",
        )],
    ),
    row(
        "`mProf_Malloc`, `mProf_Free`",
        &[
            item("`Managed::record_alloc`", MANAGED, "pub fn record_alloc("),
            item("`record_free`", MANAGED, "pub fn record_free("),
            item("`record_sweep_free`", MANAGED, "pub fn record_sweep_free("),
        ],
        &[
            test(
                "crates/everprof-core/src/managed/tests.rs",
                "free_is_never_shown_before_its_allocation_however_the_collector_errs",
            ),
            test(
                "crates/everprof-core/tests/prop_managed.rs",
                "every_read_is_as_the_model_says",
            ),
        ],
    ),
    row(
        "`mProf_NextCycle`, `mProf_Flush`, `mProf_PostSweep`",
        &[
            item("`Managed::next_cycle`", MANAGED, "pub fn next_cycle("),
            item("`flush`", MANAGED, "pub fn flush("),
            item("`post_sweep`", MANAGED, "pub fn post_sweep("),
        ],
        &[
            test(
                "crates/everprof/tests/managed.rs",
                "profile_is_the_heap_at_a_mark_termination_at_every_step_of_the_sweep",
            ),
            test(
                "crates/everprof-core/src/managed/tests.rs",
                "second_flush_in_a_cycle_changes_nothing",
            ),
            test(
                "crates/everprof-core/src/managed/tests.rs",
                "what_is_shown_is_two_cycles_old_at_most",
            ),
            test(
                "crates/everprof-core/src/managed/tests.rs",
                "number_wraps_without_a_seam",
            ),
            test(
                "crates/everprof-core/tests/loom_cycle.rs",
                "flushes_publish_whole_samples_and_each_once",
            ),
        ],
    ),
    row(
        "buckets by (type, stack, size): insert-only, looked up without a lock, off the heap",
        &[
            item("`table::Table`", TABLE, "pub struct Table<"),
            item(
                "`arena::Arena`",
                "crates/everprof-core/src/arena.rs",
                "pub struct Arena",
            ),
        ],
        &[
            test(TABLE_TESTS, "threads_that_race_agree_on_every_bucket"),
            test(
                "crates/everprof-core/tests/loom_table.rs",
                "two_threads_link_a_stack_once",
            ),
            test(
                "crates/everprof-core/tests/prop_table.rs",
                "table_behaves_as_a_map",
            ),
            test(
                "crates/everprof-core/src/managed/tests.rs",
                "types_and_stacks_have_buckets_of_their_own",
            ),
        ],
    ),
    row(
        "`disableMemoryProfiling`",
        &[item(
            "no `Alloc`, or `heap=0`: its cost is counted by `cargo xtask fast-path`",
            "xtask/src/fast_path.rs",
            "pub fn run(",
        )],
        &[test(
            "crates/everprof-core/src/sampler.rs",
            "off_records_nothing_and_looks_seldom",
        )],
    ),
    row(
        "`SetBlockProfileRate`, `BlockProfile`, `BlockProfileRecord`",
        &[
            item("`block::set_period`", BLOCK, "pub fn set_period("),
            item("`block::records`", BLOCK, "pub fn records("),
            item("`ContentionRecord`", BLOCK, "pub struct ContentionRecord<"),
        ],
        &[
            test(WAITS_TESTS, "period_one_counts_each_wait_as_it_was"),
            test(
                WAITS_TESTS,
                "short_and_long_waits_of_equal_total_count_the_same",
            ),
            test(WAITS_TESTS, "totals_stay_unbiased_while_the_period_changes"),
        ],
    ),
    row(
        "`SetMutexProfileFraction` (below 0 reads), `MutexProfile`",
        &[
            item("`mutex::set_fraction`", MUTEX, "pub fn set_fraction("),
            item("`mutex::fraction`", MUTEX, "pub fn fraction("),
            item("`mutex::set_period`", MUTEX, "pub fn set_period("),
            item("`mutex::records`", MUTEX, "pub fn records("),
        ],
        &[
            test(MUTEX, "a_negative_fraction_reads"),
            test(WAITS_TESTS, "fraction_counts_one_wake_in_so_many"),
            test(
                WAITS_TESTS,
                "holders_are_charged_with_those_who_wait_meanwhile",
            ),
            test(
                WAITS_TESTS,
                "chains_are_unbiased_where_few_wakes_are_captured",
            ),
        ],
    ),
    row(
        "`ThreadCreateProfile`",
        &[
            item("`threadcreate::records`", THREADCREATE, "pub fn records("),
            item("`ThreadRecord`", THREADCREATE, "pub struct ThreadRecord<"),
        ],
        &[
            test(
                "crates/everprof/tests/threadcreate.rs",
                "two_sites_and_what_their_threads_create_have_their_exact_counts",
            ),
            test(
                "crates/everprof/tests/threadcreate.rs",
                "ten_thousand_threads_joined_and_detached_are_ten_thousand",
            ),
        ],
    ),
    row(
        "`GoroutineProfile`, of threads, collected while all run",
        &[item("`threads::records`", THREADS, "pub fn records(")],
        &[
            test(
                "crates/everprof/tests/threads.rs",
                "a_profile_has_one_sample_a_thread_and_its_text_has_lines",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "a_paragraph_tells_who_waits_for_what_and_where",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "overlapping_requests_each_show_all_who_stay",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "labels_that_change_meanwhile_are_each_threads_own",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "labels_of_threads_that_are_born_and_die_are_their_creators",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "labels_are_those_that_are_in_force_where_the_stack_is",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "groups_of_equal_stacks_have_their_counts_in_order",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "a_deep_stack_is_cut_where_it_says_so",
            ),
        ],
    ),
    row(
        "`GoroutineProfile`, of tasks",
        &[
            item("`tasks::records`", TASKS, "pub fn records("),
            item("`TaskRecord`", TASKS, "pub struct TaskRecord"),
            item(
                "`taskblock::records`",
                "crates/everprof/src/taskblock.rs",
                "pub fn records(",
            ),
        ],
        &[
            test(TASKS_TESTS, "task_passes_through_its_states"),
            test(
                TASKS_TESTS,
                "await_stack_has_the_functions_that_await_leaf_first_and_then_the_maker",
            ),
            test(
                TASKS_TESTS,
                "labels_are_those_of_the_maker_and_are_in_force_in_each_poll",
            ),
            test(
                "crates/everprof/tests/taskblock.rs",
                "wait_is_counted_when_it_is_over_with_the_time_to_its_wake",
            ),
        ],
    ),
    row(
        "`Stack(buf, all)`",
        &[
            item("`stacks::write`", STACKS, "pub fn write("),
            item("`stacks::write_into`", STACKS, "pub fn write_into("),
        ],
        &[
            test(
                "crates/everprof/tests/threads.rs",
                "the_thread_that_asks_comes_first_and_begins_where_it_asks",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "a_small_buffer_gets_whole_lines",
            ),
            test(
                "crates/everprof/tests/threads.rs",
                "the_text_of_all_threads_is_one_paragraph_each",
            ),
        ],
    ),
    row(
        "`tracealloc`, `tracefree`, `tracegc`",
        &[
            item(
                "`trace::start`",
                "crates/everprof/src/trace.rs",
                "pub fn start(",
            ),
            item(
                "`trace::Options`",
                "crates/everprof/src/trace.rs",
                "pub struct Options",
            ),
        ],
        &[
            test(
                "crates/everprof/tests/trace.rs",
                "every_kind_of_event_of_every_layout_is_there_in_its_order",
            ),
            test(
                "crates/everprof/tests/trace.rs",
                "managed_heap_is_traced_with_its_types_and_collections",
            ),
            test(
                "crates/everprof/tests/trace.rs",
                "text_names_the_function_that_allocated",
            ),
        ],
    ),
    row(
        "annotations for race, msan, asan",
        &[item(
            "`cargo xtask tsan`, `cargo xtask asan`",
            "xtask/src/sanitize.rs",
            "pub fn thread(",
        )],
        &[test(TABLE_TESTS, "threads_that_race_agree_on_every_bucket")],
    ),
    row(
        "`runtime/pprof.Lookup`, `Profiles`, `WriteTo`, `WriteHeapProfile`",
        &[
            item("`profile::lookup`", PROFILE, "pub fn lookup("),
            item("`profile::all`", PROFILE, "pub fn all("),
            item("`Profile::write_to`", PROFILE, "pub fn write_to("),
            item("`Profile::write_text`", PROFILE, "pub fn write_text("),
            item("`Profile::delta`", PROFILE, "pub fn delta("),
        ],
        &[
            test(PROFILE, "profiles_are_found_by_name_only"),
            test(HEAP_TESTS, "a_delta_holds_what_came_between_and_only_that"),
            test(HEAP_TESTS, "text_shows_the_names_of_functions"),
        ],
    ),
    row(
        "`runtime/pprof.NewProfile`, `Add`, `Remove`",
        &[
            item(
                "`Custom::new`",
                "crates/everprof/src/custom.rs",
                "pub const fn new(",
            ),
            item(
                "`Custom::add`",
                "crates/everprof/src/custom.rs",
                "pub fn add(",
            ),
            item(
                "`Guard`",
                "crates/everprof/src/custom.rs",
                "pub struct Guard",
            ),
        ],
        &[
            test(
                "crates/everprof/tests/custom.rs",
                "what_is_held_is_served_until_the_guard_is_dropped_on_any_thread",
            ),
            test(
                "crates/everprof/tests/custom.rs",
                "second_profile_of_a_name_is_refused_and_the_first_goes_on",
            ),
        ],
    ),
    row(
        "`runtime/pprof.Do`, `WithLabels`",
        &[
            item(
                "`labels!`",
                "crates/everprof/src/label.rs",
                "macro_rules! labels",
            ),
            item(
                "`WithLabels`",
                "crates/everprof/src/label.rs",
                "pub trait WithLabels",
            ),
        ],
        &[
            test(
                "crates/everprof/tests/labels.rs",
                "object_keeps_its_labels_until_it_is_freed_under_whichever_labels",
            ),
            test(
                "crates/everprof/tests/labels.rs",
                "future_has_its_labels_at_each_poll_on_each_thread_and_others_have_theirs",
            ),
        ],
    ),
    row(
        "`runtime/pprof.StartCPUProfile`",
        &[item(
            "`cpu::profile`",
            "crates/everprof/src/cpu.rs",
            "pub fn profile(",
        )],
        &[
            test(
                "crates/everprof/tests/cpu.rs",
                "busy_function_is_named_with_its_time",
            ),
            test(
                "crates/everprof/tests/cpu.rs",
                "labels_that_change_while_a_profile_is_taken_are_those_of_the_work",
            ),
        ],
    ),
    row(
        "`net/http/pprof`",
        &[
            item(
                "`serve`",
                "crates/everprof/src/http/server.rs",
                "pub fn serve(",
            ),
            item(
                "`handle`",
                "crates/everprof/src/http/mod.rs",
                "pub fn handle(",
            ),
        ],
        &[
            test(HTTP_TESTS, "a_profile_comes_with_the_headers_of_gos"),
            test(HTTP_TESTS, "errors_show_in_gos_tool"),
            test(HTTP_TESTS, "seconds_give_a_delta_with_its_own_file_name"),
        ],
    ),
    row(
        "`go test -memprofile …`",
        &[
            item(
                "`everprof run -- cargo test`",
                "crates/everprof-cli/src/run/test_binary.rs",
                "fn are_run_by(",
            ),
            item(
                "`test::Profiles`",
                "crates/everprof/src/test.rs",
                "pub struct Profiles",
            ),
        ],
        &[
            test(
                "crates/everprof-cli/tests/run_processes.rs",
                "cargo_test_leaves_a_directory_for_each_test_binary",
            ),
            test(
                "crates/everprof/tests/test_profiles.rs",
                "profiles_of_a_test_hold_what_came_while_they_were_kept",
            ),
        ],
    ),
];
