package loader

// SiteKind says what a count means.
type SiteKind string

// The kinds of sites.
const (
	SiteLost   SiteKind = "lost"   // something is not told of at all
	SiteDetail SiteKind = "detail" // something is told of without a part of it
	SiteUse    SiteKind = "use"    // no failure: how much was done
)

// Site is one place in the programs that counts.
type Site struct {
	Name string
	Kind SiteKind
	// Words say what happened so many times.
	Words string
}

// statSites are the sites of enum stat in bpf/hangtrace.h, in its order.
var statSites = []Site{
	{"ring", SiteLost, "slow calls without a record of their return: the ring buffer was full"},
	{"slots", SiteLost, "calls of threads for which the table of calls had no room"},
	{"sleeps", SiteDetail, "sleeps whose begin another thread's took the place of: their exact end is not known"},
	{"path_fault", SiteDetail, "slow calls whose path could be read neither at their entry nor at their return"},
	{"stack_fault", SiteDetail, "kernel stacks that could not be read"},
	{"regs_fault", SiteDetail, "threads whose registers, and so whose call, could not be read"},
	{"name_fault", SiteDetail, "open files whose path did not fit or could not be read"},
	{"ring_sleeps", SiteLost, "long sleeps without a record of their end: the ring buffer was full"},
	{"ring_targets", SiteLost, "births, execs and deaths of targets without a record: the ring buffer was full"},
	{"returns", SiteLost, "slow calls without a record of their return: the kernel did not run the program for it"},
}

// straceSites are the fields of struct strace_count in bpf/strace_count.h, in its
// order.
var straceSites = []Site{
	{"calls", SiteUse, "calls traced"},
	{"lost_entries", SiteLost, "calls without a line: no room for the record of their entry"},
	{"lost_exits", SiteLost, "returns without a value: no room for the record, or the kernel did not run the program for it"},
	{"lost_others", SiteLost, "signals, births and deaths: no room for the record"},
	{"lost_stacks", SiteDetail, "stacks of calls: no room for the record"},
	{"no_slot", SiteLost, "calls of threads for which the table of threads had no room"},
	{"busy", SiteDetail, "of what was lost: because of a thread that was preempted while it wrote, not because the ring buffer was full"},
	{"unread", SiteDetail, "arguments that may be addresses, whose memory could be read neither at the entry nor at the return"},
	{"cut", SiteDetail, "strings, buffers and descriptors for which a record had no room"},
	{"no_regs", SiteDetail, "deaths of threads whose registers could not be read"},
	{"no_kstack", SiteDetail, "sleeps whose kernel stack could not be read"},
}

// walkSites are the sites of enum walk_stat in bpf/walk.h, in its order. They
// are of the last walk.
var walkSites = []Site{
	{"fault_super", SiteDetail, "failed reads of super blocks"},
	{"fault_mount", SiteDetail, "failed reads of mounts"},
	{"fault_mds", SiteDetail, "failed reads of requests to an MDS"},
	{"fault_osd", SiteDetail, "failed reads of requests to OSDs"},
	{"fault_mon", SiteDetail, "failed reads of requests to monitors"},
	{"fault_rbd", SiteDetail, "failed reads of rbd devices"},
	{"fault_fuse", SiteDetail, "failed reads of FUSE requests"},
	{"fault_table", SiteDetail, "failed reads of the kernel's tables of waiters"},
	{"fault_inode", SiteDetail, "failed reads of inodes"},
	{"fault_task", SiteDetail, "failed reads of threads"},
	{"fault_waiter", SiteDetail, "failed reads of waiters"},
	{"foreign", SiteUse, "nodes that had left their list when they were looked at"},
	{"cycle", SiteUse, "lists that led round, as a node moved"},
	{"bound", SiteLost, "lists longer than is looked at, and maps that were full"},
	{"dropped", SiteLost, "records that found no room"},
	{"steps", SiteUse, "steps taken"},
}

// The last sites of enum walk_stat that mean that something is missing.
const (
	walkBound   = 13 // WALK_STAT_BOUND
	walkDropped = 14 // WALK_STAT_DROPPED
)

// incomplete says what a walk had to leave out.
func (w *Walker) incomplete(stats [walkStats]uint64) {
	if stats[walkBound] > 0 {
		w.degrade("a list or table of the kernel is longer than is walked: requests and waiters may be missing")
	}
	if stats[walkDropped] > 0 {
		w.degrade("the walk had no room for everything it found: requests and waiters are missing")
	}
}
