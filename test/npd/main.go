// Command npd runs the custom plugin monitor of the real node-problem-detector
// with one configuration, and prints what it makes of it.
//
// In: the configuration file. Out: one line of JSON for each status that the
// monitor reports, until every rule was run once. It is a module of its own, so
// that hangtrace depends on nothing of node-problem-detector.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/node-problem-detector/pkg/custompluginmonitor"
)

// patience is for all rules of a configuration together.
const patience = time.Minute

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: npd CONFIG")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "npd:", err)
		os.Exit(1)
	}
}

func run(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var config struct {
		Rules []json.RawMessage `json:"rules"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	// A configuration that it does not take ends the program.
	monitor := custompluginmonitor.NewCustomPluginMonitorOrDie(name)
	statuses, err := monitor.Start()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	out := json.NewEncoder(os.Stdout)
	late := time.After(patience)
	for range 1 + len(config.Rules) { // the first says how it begins
		select {
		case s := <-statuses:
			if err := out.Encode(s); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		case <-late:
			return errors.New("a rule does not end")
		}
	}
	return nil
}
