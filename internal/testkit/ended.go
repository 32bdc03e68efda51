package testkit

// Ended is closed once the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }
