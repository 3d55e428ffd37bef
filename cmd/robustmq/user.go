package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/gateway/admin"
)

func userCommand() *cobra.Command {
	ls := verb("list", "List accounts", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		all, err := list[admin.User](cmd.Context(), c, apiPath("users"), nil)
		if err != nil {
			return err
		}
		return showUsers(c, all, all...)
	})
	create := verb("create NAME", "Create an account", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		in := admin.UserCreate{Name: args[0]}
		in.Superuser, _ = cmd.Flags().GetBool("superuser")
		in.NKey, _ = cmd.Flags().GetString("nkey")
		in.MaxConnections, _ = cmd.Flags().GetInt("max-connections")
		in.BytesPerSecond = flagSize(cmd.Flags(), "bytes-per-second")
		var err error
		if in.Password, err = newPassword(cmd, in.NKey != ""); err != nil {
			return err
		}
		var u admin.User
		if err := c.call(cmd.Context(), http.MethodPost, apiPath("users"), in, &u); err != nil {
			return err
		}
		tellGenerated(cmd, in.Password)
		return showUsers(c, u, u)
	})
	passwordFlags(create)
	create.Flags().Bool("superuser", false, "the account passes every rule and administers")
	create.Flags().String("nkey", "", "public NATS key")
	limitFlags(create)
	change := verb("set NAME", "Change an account's limits or rights; what is not given stays", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		in := admin.UserUpdate{
			Superuser: given(cmd, "superuser", cmd.Flags().GetBool), MaxConnections: given(cmd, "max-connections", cmd.Flags().GetInt),
			BytesPerSecond: given(cmd, "bytes-per-second", func(n string) (int64, error) { return flagSize(cmd.Flags(), n), nil }),
		}
		if in == (admin.UserUpdate{}) {
			return errors.New("nothing to change: give --max-connections, --bytes-per-second or --superuser")
		}
		var u admin.User
		if err := c.call(cmd.Context(), http.MethodPatch, apiPath("users", args[0]), in, &u); err != nil {
			return err
		}
		return showUsers(c, u, u)
	})
	change.Example = "  robustmq user set alice --max-connections 10 --bytes-per-second 1MB"
	change.Flags().Bool("superuser", false, "the account passes every rule and administers")
	limitFlags(change)
	set := verb("password NAME", "Set an account's password", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		p, err := newPassword(cmd, false)
		if err != nil {
			return err
		}
		if err := c.call(cmd.Context(), http.MethodPut, apiPath("users", args[0], "password"), admin.Password{Password: p}, nil); err != nil {
			return err
		}
		tellGenerated(cmd, p)
		return nil
	})
	passwordFlags(set)
	del := verb("delete NAME", "Delete an account", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		return c.call(cmd.Context(), http.MethodDelete, apiPath("users", args[0]), nil, nil)
	})
	return noun("user", "Administer accounts", ls, create, change, set, tokenCommand(), del)
}

func tokenCommand() *cobra.Command {
	token := verb("token NAME", "Set the token that NATS clients log in by, without a name", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		var p string
		if remove, _ := cmd.Flags().GetBool("remove"); !remove {
			var err error
			if p, err = newPassword(cmd, false); err != nil {
				return err
			}
		}
		if err := c.call(cmd.Context(), http.MethodPatch, apiPath("users", args[0]), admin.UserUpdate{Token: &p}, nil); err != nil {
			return err
		}
		if g, _ := cmd.Flags().GetBool("generate"); g && p != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "token:", p)
		}
		return nil
	})
	passwordFlags(token)
	token.Flags().Lookup("generate").Usage = "make a token and print it on standard error"
	token.Flags().Lookup("new-password-file").Usage = "read the token from the first line of this file; -: standard input"
	token.Flags().Bool("remove", false, "the account has no token any more")
	return token
}

func limitFlags(cmd *cobra.Command) {
	cmd.Flags().Int("max-connections", 0, "bound of connections to each gateway; 0: none")
	cmd.Flags().Var(new(sizeFlag), "bytes-per-second", "bound of what the user sends to each gateway, as 1MB; 0: none")
}

// given gives a flag's value, nil when it is not on the command line.
func given[T any](cmd *cobra.Command, name string, get func(string) (T, error)) *T {
	v, err := get(name)
	if err != nil || !cmd.Flags().Changed(name) {
		return nil
	}
	return &v
}

func passwordFlags(cmd *cobra.Command) {
	cmd.Flags().Bool("generate", false, "make a password and print it on standard error")
	cmd.Flags().String("new-password-file", "-", "read the new password from the first line of this file; -: standard input")
}

// newPassword makes or reads the password to be set.
func newPassword(cmd *cobra.Command, optional bool) (string, error) {
	if g, _ := cmd.Flags().GetBool("generate"); g {
		return rand.Text(), nil
	}
	if optional && !cmd.Flags().Changed("new-password-file") {
		return "", nil
	}
	in := cmd.InOrStdin()
	if name, _ := cmd.Flags().GetString("new-password-file"); name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		defer f.Close()
		in = f
	} else if st, err := os.Stdin.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprint(cmd.ErrOrStderr(), "new password (shown as you type): ")
	}
	line, err := bufio.NewReaderSize(in, 8<<10).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.Join(errors.New("no new password given: write it to standard input, or use --generate"), err)
	}
	return line, nil
}

// tellGenerated prints a password that was made, once it is the account's.
func tellGenerated(cmd *cobra.Command, password string) {
	if g, _ := cmd.Flags().GetBool("generate"); g {
		fmt.Fprintln(cmd.ErrOrStderr(), "password:", password)
	}
}

func showUsers(c *client, v any, us ...admin.User) error {
	return c.show(v, "NAME SUPERUSER PASSWORD NKEY CONNECTIONS BYTES/S", func(row func(...any)) {
		for _, u := range us {
			password := "none"
			switch {
			case u.DefaultPassword:
				password = "default"
			case u.HasPassword:
				password = "set"
			}
			row(u.Name, u.Superuser, password, u.NKey, limitOr(int64(u.MaxConnections)), limitOr(u.BytesPerSecond))
		}
	})
}

func limitOr(n int64) any {
	if n == 0 {
		return ""
	}
	return n
}

func aclCommand() *cobra.Command {
	ls := verb("list", "List access rules", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		principal, _ := cmd.Flags().GetString("principal")
		all, err := list[admin.ACL](cmd.Context(), c, apiPath("acls"), url.Values{"principal": {principal}})
		if err != nil {
			return err
		}
		return c.show(all, "PRINCIPAL PERMISSION OPERATION RESOURCE FILTER HOST", func(row func(...any)) {
			for _, a := range all {
				permission := "allow"
				if a.Deny {
					permission = "deny"
				}
				row(a.Principal, permission, a.Operation, a.Resource, a.Filter, a.Host)
			}
		})
	})
	ls.Flags().String("principal", "", "only rules of this principal")
	change := func(use, short string, path ...string) *cobra.Command {
		cmd := verb(use+" PRINCIPAL OPERATION RESOURCE FILTER", short, cobra.ExactArgs(4), func(cmd *cobra.Command, c *client, args []string) error {
			a := admin.ACL{Principal: args[0], Operation: args[1], Resource: args[2], Filter: args[3]}
			a.Deny, _ = cmd.Flags().GetBool("deny")
			a.Host, _ = cmd.Flags().GetString("host")
			return c.call(cmd.Context(), http.MethodPost, apiPath(path...), admin.ACLs{Rules: []admin.ACL{a}}, nil)
		})
		cmd.Flags().Bool("deny", false, "the rule denies; denying rules win")
		cmd.Flags().String("host", "", "remote address; empty: all")
		cmd.Example = "  robustmq acl " + use + " alice publish subject 'sensors.>'"
		return cmd
	}
	return noun("acl", "Administer access rules; with the first one, what no rule allows is denied", ls,
		change("add", "Add a rule", "acls"), change("delete", "Delete a rule", "acls", "delete"))
}
