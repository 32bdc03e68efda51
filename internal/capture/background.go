package capture

import "io"

// loaded is what came of loading something in the background.
type loaded[T io.Closer] struct {
	value T
	err   error
}

// background begins to load something that the kernel may check for seconds.
func background[T io.Closer](load func() (T, error)) <-chan loaded[T] {
	done := make(chan loaded[T], 1)
	go func() {
		v, err := load()
		done <- loaded[T]{v, err}
	}()
	return done
}

// forgo closes what nobody waits for any more, as soon as it is loaded.
func forgo[T io.Closer](loading <-chan loaded[T]) {
	go func() {
		if l := <-loading; l.err == nil {
			_ = l.value.Close()
		}
	}()
}
