// Package repotest holds the repository's own rules, as tests.
//
// In: the source text of every Go file of the module. Out: a failed test for
// each place that breaks a rule of docs/architecture.md. It has no code for
// others, and must never be imported.
package repotest
