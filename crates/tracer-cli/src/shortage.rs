//! How the machine slows the command down: limits of the control group, steal time and pressure.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tracer_model::span::Shortage;

/// The numbers at one moment. Counters count from the start of the machine or of the control group.
#[derive(Debug)]
pub(crate) struct Reading {
    numbers: Shortage,
    /// The group with the tightest CPU limit. It has the counters of throttling.
    throttling: Option<PathBuf>,
}

impl Reading {
    /// Reads a few small files of /proc and of the control groups.
    pub(crate) fn take() -> Self {
        let tree = Groups::of_this_process();
        let (numbers, throttling) = cpu(&tree, Shortage::default());
        Self { numbers: Shortage { steal_ns: steal(), ..pressure(memory(&tree, numbers)) }, throttling }
    }

    /// The growth of the counters since an earlier reading, and the limits of this reading.
    pub(crate) fn since(&self, before: &Self) -> Shortage {
        // If a limit has changed during the run, another group can have the tightest one.
        let is_same_group = self.throttling == before.throttling;
        let (now, before) = (&self.numbers, &before.numbers);
        let difference = |of: fn(&Shortage) -> Option<u64>| Some(of(now)?.saturating_sub(of(before)?));
        let of_group = |of| difference(of).filter(|_| is_same_group);
        Shortage {
            periods: of_group(|it| it.periods),
            throttled_periods: of_group(|it| it.throttled_periods),
            throttled_ns: of_group(|it| it.throttled_ns),
            steal_ns: difference(|it| it.steal_ns),
            cpu_pressure_ns: difference(|it| it.cpu_pressure_ns),
            memory_pressure_ns: difference(|it| it.memory_pressure_ns),
            io_pressure_ns: difference(|it| it.io_pressure_ns),
            oom_kills: difference(|it| it.oom_kills),
            ..*now
        }
    }
}

/// The control groups of this process. The command begins in the same ones.
struct Groups {
    /// The lines of /proc/self/cgroup and /proc/self/mountinfo.
    memberships: String,
    mounts: String,
}

impl Groups {
    fn of_this_process() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self { memberships: read("/proc/self/cgroup"), mounts: read("/proc/self/mountinfo") }
    }

    /// The folders of the group with that controller and of its parents, and the version of their hierarchy. The group comes
    /// first.
    fn with(&self, controller: &str) -> (u32, Vec<PathBuf>) {
        // A controller is in one hierarchy only: cgroups(7).
        let has = |controllers: &str| controllers.split(',').any(|name| name == controller);
        let fields = || self.memberships.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let (version, group) = match fields().find(|(controllers, _)| has(controllers)) {
            Some((_, group)) => (1, group),
            None => (2, fields().find(|(controllers, _)| controllers.is_empty()).map_or("/", |(_, group)| group)),
        };
        let is_hierarchy =
            |kind: &str, options: &str| if version == 1 { kind == "cgroup" && has(options) } else { kind == "cgroup2" };
        let mount = self.mounts.lines().find_map(|line| {
            // proc_pid_mountinfo(5)
            let (place, kind) = line.split_once(" - ")?;
            let (place, kind): (Vec<_>, Vec<_>) = (place.split(' ').collect(), kind.split(' ').collect());
            is_hierarchy(kind.first()?, kind.get(2)?)
                .then(|| (*place.get(3).unwrap_or(&"/"), *place.get(4).unwrap_or(&"/")))
        });
        let Some((root, place)) = mount else { return (version, Vec::new()) };
        // In a container often only the part of the hierarchy from `root` on is mounted.
        let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        let folders = Path::new(place).join(below);
        (version, folders.ancestors().take_while(|folder| folder.starts_with(place)).map(Path::to_owned).collect())
    }
}

fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    read(folder, file)?.trim().parse().ok()
}

/// The number behind a name, in a file with a name and a number in each line.
fn named(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Quota and period of a control group, microseconds.
fn quota(version: u32, folder: &Path) -> Option<(u64, u64)> {
    if version == 1 {
        // Without a limit the quota is -1.
        return Some((number(folder, "cpu.cfs_quota_us")?, number(folder, "cpu.cfs_period_us")?));
    }
    let text = read(folder, "cpu.max")?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some((quota.parse().ok()?, period.parse().ok()?))
}

/// Adds the CPU limit and its counters. Also returns the folder of the group with the tightest limit.
fn cpu(groups: &Groups, shortage: Shortage) -> (Shortage, Option<PathBuf>) {
    let (version, folders) = groups.with("cpu");
    let limits = folders.iter().filter_map(|folder| {
        let (quota, period) = quota(version, folder)?;
        Some(((quota * 1000).checked_div(period)?, period, folder))
    });
    let Some((limit, period, folder)) = limits.min_by_key(|(limit, ..)| *limit) else { return (shortage, None) };
    let stat = read(folder, "cpu.stat").unwrap_or_default();
    let throttled = named(&stat, "throttled_usec").map(|time| time * 1000).or_else(|| named(&stat, "throttled_time"));
    let shortage = Shortage {
        cpu_limit: Some(limit),
        period_ns: Some(period * 1000),
        periods: named(&stat, "nr_periods"),
        throttled_periods: named(&stat, "nr_throttled"),
        throttled_ns: throttled,
        ..shortage
    };
    (shortage, Some(folder.clone()))
}

fn memory(groups: &Groups, shortage: Shortage) -> Shortage {
    let (version, folders) = groups.with("memory");
    let [limit, peak, events] = if version == 1 {
        ["memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"]
    } else {
        ["memory.max", "memory.peak", "memory.events"]
    };
    // Without a limit, version 1 has a number just below 2^63.
    let limits = folders.iter().filter_map(|folder| Some((number(folder, limit)?, folder)));
    let tightest = limits.filter(|(limit, _)| *limit < 1 << 60).min_by_key(|(limit, _)| *limit);
    // In version 1, a group counts only the kills of its own processes. In version 2, it also counts those of the
    // groups below it. So the kills are read from the group itself, and not from the group with the limit.
    let own = folders.first();
    let (limit, limited) = tightest.map_or((None, own), |(limit, folder)| (Some(limit), Some(folder)));
    Shortage {
        memory_limit: limit,
        memory_peak: limited.and_then(|folder| number(folder, peak)),
        oom_kills: own.and_then(|folder| named(&read(folder, events)?, "oom_kill")),
        ..shortage
    }
}

/// Adds the stall times of the machine. A kernel can lack them, or not count them by default.
fn pressure(shortage: Shortage) -> Shortage {
    let some = |file: &str| -> Option<u64> {
        let text = fs::read_to_string(Path::new("/proc/pressure").join(file)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
        Some(line.rsplit_once("total=")?.1.trim().parse::<u64>().ok()? * 1000)
    };
    Shortage {
        cpu_pressure_ns: some("cpu"),
        memory_pressure_ns: some("memory"),
        io_pressure_ns: some("io"),
        ..shortage
    }
}

/// The eighth number of the line for all processors: proc_stat(5).
fn steal() -> Option<u64> {
    /// The unit of the numbers, nanoseconds: USER_HZ is 100 on all architectures that Rust's standard library supports.
    const TICK: u64 = 10_000_000;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks: u64 = stat.lines().next()?.split_ascii_whitespace().nth(8)?.parse().ok()?;
    Some(ticks * TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(memberships: &str, mounts: &str) -> Groups {
        Groups { memberships: memberships.to_owned(), mounts: mounts.to_owned() }
    }

    #[test]
    fn a_controller_is_found_in_both_versions() {
        let memberships = "4:memory:/a\n2:cpu,cpuacct:/docker/1/x\n0::/slice/y\n";
        let mounts = "\
30 20 0:26 /docker/1 /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
31 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let hybrid = groups(memberships, mounts);
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(hybrid.with("cpu"), (1, paths(&["/sys/fs/cgroup/cpu/x", "/sys/fs/cgroup/cpu"])));
        assert_eq!(hybrid.with("memory"), (1, Vec::new()), "not mounted");
        let unified = groups("0::/slice/y\n", "31 20 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let folders = paths(&["/sys/fs/cgroup/slice/y", "/sys/fs/cgroup/slice", "/sys/fs/cgroup"]);
        assert_eq!(unified.with("cpu"), (2, folders));
        assert_eq!(groups("", "").with("cpu"), (2, Vec::new()));
    }

    #[test]
    fn the_tightest_limit_counts() {
        let root = tempfile::TempDir::new().unwrap();
        let own = root.path().join("pod/job");
        fs::create_dir_all(&own).unwrap();
        let write = |folder: &Path, file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        let pod = root.path().join("pod");
        write(&pod, "cpu.max", "200000 100000\n");
        write(&pod, "cpu.stat", "usage_usec 1\nnr_periods 12\nnr_throttled 3\nthrottled_usec 40\n");
        write(&own, "cpu.max", "max 100000\n");
        write(&pod, "memory.max", "max\n");
        write(&own, "memory.max", "1000\n");
        write(&own, "memory.peak", "900\n");
        write(&own, "memory.events", "oom 2\noom_kill 1\n");
        write(&pod, "memory.events", "oom 5\noom_kill 5\n");
        let mounts = format!("31 20 0:27 / {} rw - cgroup2 cgroup2 rw\n", root.path().display());
        let groups = groups("0::/pod/job\n", &mounts);
        let (numbers, throttling) = cpu(&groups, Shortage::default());
        assert_eq!(throttling, Some(pod.clone()));
        let shortage = memory(&groups, numbers);
        let expected = Shortage {
            cpu_limit: Some(2000),
            period_ns: Some(100_000_000),
            periods: Some(12),
            throttled_periods: Some(3),
            throttled_ns: Some(40_000),
            memory_limit: Some(1000),
            memory_peak: Some(900),
            oom_kills: Some(1),
            ..Shortage::default()
        };
        assert_eq!(shortage, expected);
        let later = Shortage { periods: Some(20), throttled_periods: Some(4), ..expected };
        let [now, before] = [later, expected].map(|numbers| Reading { numbers, throttling: throttling.clone() });
        let during = now.since(&before);
        assert_eq!((during.periods, during.throttled_periods, during.cpu_limit), (Some(8), Some(1), Some(2000)));
        assert_eq!((during.memory_peak, during.oom_kills, during.steal_ns), (Some(900), Some(0), None));
        let during = now.since(&Reading { throttling: Some(own), ..before });
        assert_eq!(
            (during.periods, during.throttled_ns, during.cpu_limit),
            (None, None, Some(2000)),
            "of another group"
        );
    }

    #[test]
    fn without_a_memory_limit_the_peak_of_the_own_group_counts() {
        let root = tempfile::TempDir::new().unwrap();
        for (file, text) in [("memory.max", "max\n"), ("memory.peak", "900\n"), ("memory.events", "oom_kill 3\n")] {
            fs::write(root.path().join(file), text).unwrap();
        }
        let mounts = format!("31 20 0:27 / {} rw - cgroup2 cgroup2 rw\n", root.path().display());
        let shortage = memory(&groups("0::/\n", &mounts), Shortage::default());
        assert_eq!(shortage, Shortage { memory_peak: Some(900), oom_kills: Some(3), ..Shortage::default() });
    }
}
