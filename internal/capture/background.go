package capture

import "io"

// beside does something beside the rest and gives its result once it is there.
func beside[T any](do func() T) <-chan T {
	done := make(chan T, 1)
	go func() { done <- do() }()
	return done
}

// loaded is what came of loading something in the background.
type loaded[T io.Closer] struct {
	value T
	err   error
}

// background begins to load something that the kernel may check for seconds.
func background[T io.Closer](load func() (T, error)) <-chan loaded[T] {
	return beside(func() loaded[T] {
		v, err := load()
		return loaded[T]{v, err}
	})
}

// forgo closes what nobody waits for any more, as soon as it is loaded.
func forgo[T io.Closer](loading <-chan loaded[T]) {
	go func() {
		if l := <-loading; l.err == nil {
			_ = l.value.Close()
		}
	}()
}
