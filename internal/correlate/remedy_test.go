package correlate

import "testing"

// TestForceUnmount: the process by which a namespace is entered may end with the
// first umount, so that it is entered once.
func TestForceUnmount(t *testing.T) {
	here := func(command string) string { return command }
	if got, want := ForceUnmount("/a b", here), "umount -f '/a b' || (sleep 1; umount -f '/a b')"; got != want {
		t.Errorf("here: %s, want %s", got, want)
	}
	there := func(command string) string { return "nsenter -t 7 -m -- " + command }
	if got, want := ForceUnmount("/a", there), "nsenter -t 7 -m -- sh -c 'umount -f /a || (sleep 1; umount -f /a)'"; got != want {
		t.Errorf("there: %s, want %s", got, want)
	}
}
