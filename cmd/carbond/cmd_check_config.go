package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/daemon"
)

func cmdCheckConfig(a *app) *cobra.Command {
	var defaults, effective bool
	c := &cobra.Command{
		Use:   "check-config",
		Short: "Parse the configuration strictly and print all problems",
		Long: "Reads the configuration as serve would: file, environment, secret files. Prints every\n" +
			"problem with its place. Exit code 0 when serve would accept it, 78 when not.",
		Example: "  carbond check-config --config ./carbond.yaml\n  carbond check-config --effective\n" +
			"  carbond check-config --print-defaults > carbond.yaml",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if defaults {
				_, err := io.WriteString(a.out, config.Sample())
				return err
			}
			return checkConfig(a, effective)
		},
	}
	c.Flags().BoolVar(&defaults, "print-defaults", false, "print a commented file with every key and its default")
	c.Flags().BoolVar(&effective, "effective", false, "print every key with its value and where it comes from; secrets stay hidden")
	c.MarkFlagsMutuallyExclusive("print-defaults", "effective")
	return c
}

func checkConfig(a *app, effective bool) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if err := daemon.Check(cfg); err != nil {
		return err
	}
	if effective {
		_, err := io.WriteString(a.out, cfg.Effective())
		return err
	}
	where, mode := cfg.File(), "embedded mode"
	if where == "" {
		where = "no configuration file, defaults and environment"
	}
	if !cfg.Embedded() {
		mode = "postgres mode"
	}
	_, err = fmt.Fprintf(a.out, "%s: ok (%s)\n", where, mode)
	return err
}
