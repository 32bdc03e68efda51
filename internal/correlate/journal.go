package correlate

import (
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
)

// journalFrames are waits for a journal's own thread: for the end of its
// commit, for room, or for a buffer that it is writing.
var journalFrames = []string{"jbd2_log_wait_commit", "jbd2_complete_transaction", "wait_transaction_locked",
	"add_transaction_credits", "start_this_handle", "do_get_write_access", "__jbd2_log_wait_for_space", "jbd2_journal_lock_updates"}

// writeFrames are waits for data on its way to the disk.
var writeFrames = []string{"folio_wait_writeback", "wait_on_page_writeback", "folio_wait_stable", "jbd2_journal_commit_transaction",
	"__sync_dirty_buffer", "ext4_commit_super", "blkdev_issue_flush", "xlog_wait_on_iclog", "xlog_force_lsn", "xfs_log_force", "xfs_log_force_seq", "xfs_buf_delwri_submit"}

// waitsForWrite tells whether a stack waits for a write, and not for a read.
func waitsForWrite(stack List[string]) bool {
	for _, f := range stack {
		if name, _ := splitFrame(f); matches(writeFrames, name) {
			return true
		}
	}
	return false
}

// journalThread is the thread of the ext4 journal that a thread waits for: the
// kernel names it "jbd2/<device>-<inode>", cut to 15 letters. 0: it waits for
// none, or its thread was not looked at.
func (w *world) journalThread(t *events.Task) int {
	if !w.view(t).journal || strings.HasPrefix(t.Comm, "jbd2/") {
		return 0
	}
	device := w.deviceName(t)
	if device == "" {
		return 0
	}
	if w.journals == nil {
		w.journals = make(map[string]int)
		for i := range w.last {
			if j := &w.last[i]; j.KernelThread() && strings.HasPrefix(j.Comm, "jbd2/") {
				w.journals[j.Comm] = j.TID
			}
		}
	}
	for comm, tid := range w.journals {
		if strings.HasPrefix(comm, cutComm("jbd2/"+device+"-")) {
			return tid
		}
	}
	return 0
}

// cutComm is what the kernel keeps of a thread's name.
func cutComm(name string) string {
	const most = 15 // TASK_COMM_LEN without its NUL
	return name[:min(len(name), most)]
}

// deviceName is the kernel's name of the block device below the file system
// that a thread is blocked on.
func (w *world) deviceName(t *events.Task) string {
	dev := ""
	if e := w.explained[t.TID]; e != nil {
		dev = e.dev
	}
	if dev == "" || dev == "0:0" {
		v := w.view(t)
		if pl, ok := w.bestPlace(t, v, w.reason(t, v)); ok && pl.mount != nil {
			dev = string(pl.mount.Device)
		}
	}
	for _, b := range w.snap.Blocks {
		if b.Device == dev {
			return b.Name
		}
	}
	for _, d := range w.walk.RBDs {
		if d.Dev.String() == dev {
			return "rbd" + itoa(d.ID)
		}
	}
	return ""
}
