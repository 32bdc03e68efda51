package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute puts flags before arguments, where package cli looks for them: people
// write "replay hang.rec -o json". What follows "--" stays as it is.
func permute(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	flags, at := app.Flags, 1
	if c := app.Command(args[1]); c != nil {
		if c.SkipFlagParsing { // it reads its own
			return args
		}
		flags, at = c.Flags, 2
	}
	out := slices.Clone(args[:at])
	var plain []string
	for i := at; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return append(append(out, plain...), args[i:]...)
		case len(a) < 2 || a[0] != '-':
			plain = append(plain, a)
			if at == 1 { // a command's name: what follows is the command's
				return append(out, args[i:]...)
			}
		default:
			out = append(out, a)
			if takesValue(flags, a) && i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
		}
	}
	return append(out, plain...)
}

// takesValue tells whether the argument after this flag is its value.
func takesValue(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			d, ok := f.(cli.DocGenerationFlag)
			return ok && d.TakesValue()
		}
	}
	return false
}

// noArguments refuses what is no flag, and says what may have been meant.
func noArguments(c *cli.Context) error {
	if !c.Args().Present() {
		return nil
	}
	arg := c.Args().First()
	if c.Command != nil && c.App.Command(c.Command.Name) != nil {
		if c.App.Command(arg) != nil {
			return usage("%q is a second command; try: hangtrace %s --help", arg, c.Command.Name)
		}
		if hasFlag(c.Command.Flags, "pid") {
			return usage("%s takes no argument, got %q; try: hangtrace %s --pid %s", c.Command.Name, arg, c.Command.Name, arg)
		}
		return usage("%s takes no argument, got %q; try: hangtrace %s", c.Command.Name, arg, c.Command.Name)
	}
	if near := nearest(arg, commandNames(c.App)); near != "" {
		return usage("%q is no command; try: hangtrace %s", arg, near)
	}
	return usage("%q is no command; try: hangtrace --help (or, for a process, hangtrace --pid %s)", arg, arg)
}

func hasFlag(flags []cli.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

func commandNames(app *cli.App) []string {
	var names []string
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	return names
}

// nearest is the candidate that differs least, "" if all differ too much to be
// meant.
func nearest(word string, candidates []string) string {
	best, least := "", 1+max(len(word)/3, 1)
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, replace or swap with their
// neighbour to get from a to b (Damerau-Levenshtein, restricted).
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := 1
			if a[i-1] == b[j-1] {
				replace = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// flagError says in our words what package cli found wrong with the flags.
func flagError(c *cli.Context, err error) error {
	flags, name := c.App.Flags, "hangtrace"
	if c.Command != nil && c.App.Command(c.Command.Name) != nil {
		flags, name = c.Command.Flags, "hangtrace "+c.Command.Name
	}
	text := err.Error()
	if flag, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		var known []string
		for _, f := range flags {
			known = append(known, f.Names()...)
		}
		if near := nearest(strings.TrimLeft(flag, "-"), known); len(near) > 1 {
			return usage("flag %s is unknown; try: %s --%s", dashes(flag), name, near)
		}
		return usage("flag %s is unknown; try: %s --help", dashes(flag), name)
	}
	if flag, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return usage("flag %s needs a value; try: %s --help", dashes(flag), name)
	}
	var value, flag string
	if n, _ := fmt.Sscanf(text, "invalid value %q for flag %s", &value, &flag); n == 2 {
		flag = dashes("-" + strings.TrimSuffix(flag, ":"))
		return usage("%s %q is not valid; try: %s", flag, value, example(flags, flag))
	}
	return usage("%w; try: %s --help", err, name)
}

// dashes writes a flag as the help does: -p, --pid.
func dashes(flag string) string {
	name := strings.TrimLeft(flag, "-")
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// example is a flag with a value that it takes.
func example(flags []cli.Flag, flag string) string {
	for _, f := range flags {
		if !slices.Contains(f.Names(), strings.TrimLeft(flag, "-")) {
			continue
		}
		switch f.(type) {
		case *cli.DurationFlag:
			return flag + " 30s (or 500ms, 2m)"
		case *cli.BoolFlag:
			return flag + " (without a value)"
		}
	}
	return "hangtrace --help"
}

// flagsBeforeCommand refuses "hangtrace --pid 1 report": the flags of one
// command mean nothing to another and would silently be lost.
func flagsBeforeCommand(c *cli.Context) error {
	name := c.Args().First()
	if c.NumFlags() == 0 || c.App.Command(name) == nil {
		return nil
	}
	return usage("flags before the command %q would be lost; try: hangtrace %s [flags]", name, name)
}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name:         "help",
		Aliases:      []string{"h"},
		Usage:        "what a command does and which flags it takes",
		ArgsUsage:    "[COMMAND]",
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			name := c.Args().First()
			switch cmd := c.App.Command(name); {
			case name == "":
				return cli.ShowAppHelp(c.Lineage()[1])
			case cmd == nil || c.Args().Len() > 1:
				return noSuchHelp(c, name)
			}
			return cli.ShowCommandHelp(c.Lineage()[1], name)
		},
	}
}

func noSuchHelp(c *cli.Context, name string) error {
	if near := nearest(name, commandNames(c.App)); near != "" {
		return usage("%q is no command; try: hangtrace help %s", name, near)
	}
	return usage("%q is no command; try: hangtrace --help", name)
}
