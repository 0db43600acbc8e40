/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/*
 * What a command is: one table that gives its parsing, its help, its completion in three shells
 * and the description that `mvm help --json` prints.
 */

#include <mvm/error.h>
#include <mvm/progress.h>
#include <stdbool.h>
#include <stdint.h>

struct args;
struct cli_context;

enum option_kind {
	OPTION_FLAG,
	OPTION_STRING,
	OPTION_U32,	 /* min to max; max 0 means no limit */
	OPTION_SIZE,	 /* an amount in MiB: 512M, 1.5G; min to max MiB */
	OPTION_DURATION, /* 90, 90s, 5m, 250ms */
	OPTION_CHOICE,	 /* one of `choices` */
	OPTION_LIST,	 /* may be given more than once */
	OPTION_WORDS,	 /* as OPTION_LIST, and commas separate values too */
};

/* The kind of a value: names.h checks it, and shells offer the existing values. */
enum value_hint {
	VALUE_ANY,
	VALUE_FILE,
	VALUE_DIR,
	VALUE_TEMPLATE,
	VALUE_REFERENCE, /* a template, or one of its revisions: ID[@REV] */
	VALUE_RUNNABLE,	 /* VALUE_REFERENCE, or an artifact in a registry, which has a slash */
	VALUE_INSTANCE,
	VALUE_KERNEL,
	VALUE_VOLUME,
	VALUE_COMMAND,	    /* words of a command of mvm's */
	VALUE_NEW_TEMPLATE, /* from here on shells offer nothing: a new name, */
	VALUE_NEW_INSTANCE,
	VALUE_NEW_KERNEL,
	VALUE_NEW_KEY,
	VALUE_NEW_TOKEN,
	VALUE_ROLE,
	VALUE_REVISION,
	VALUE_HOSTNAME,
	VALUE_REMOTE,	/* something in a registry: HOST/NAME:TAG */
	VALUE_REGISTRY, /* HOST[:PORT] */
	VALUE_SCOPE,	/* a pattern of repositories' names */
};

struct option {
	const char *name; /* without the dashes; NULL ends a table */
	char letter;	  /* 0: no short form */
	enum option_kind kind;
	const char *value;   /* the value's name in help, "SIZE"; NULL for flags */
	const char *help;    /* lower case, no full stop */
	const char *group;   /* heading in help; NULL: "Options" */
	const char *choices; /* "bash|zsh|fish" */
	const char *offers;  /* what shells offer beside other values, "TERM|HUP"; or NULL */
	bool open;	     /* a choice may go on after ':'; the command looks at that */
	uint32_t min, max;
	enum value_hint hint;
};

/* Values of --backend: a test compares them with the list of 'mvm backends'. */
#define BACKENDS "firecracker|qemu"

/* The option of every command that prints data. */
#define OPTION_JSON                                                                                \
	{                                                                                          \
		.name = "json", .kind = OPTION_FLAG, .help = "print JSON"                          \
	}

/* The option of commands that take a template's lock. */
#define OPTION_NO_WAIT                                                                             \
	{                                                                                          \
		.name = "no-wait", .kind = OPTION_FLAG,                                            \
		.help = "fail if another command works on the template"                            \
	}

struct positional {
	const char *name; /* as help shows it, "ID"; NULL ends the list */
	const char *help;
	bool optional; /* only at the end */
	bool many;     /* only the last: one or more, none as well when optional */
	enum value_hint hint;
	const char *choices; /* as in struct option; NULL: anything */
};

#define POSITIONALS_MAX 3

struct command {
	const char *path;    /* "template build" */
	const char *summary; /* one line, capital letter, no full stop */
	/* More help, or NULL: paragraphs separated by an empty line, wrapped when shown; lines
	 * that begin with a space stay as they are. */
	const char *details;
	const char *examples; /* lines, each a command; NULL for none */
	struct positional positionals[POSITIONALS_MAX + 1];
	const char *rest;   /* takes "-- COMMAND ..." of this name; NULL: `--` ends the options */
	bool rest_required; /* and then needs no `--` before it */
	const char *stray;  /* a hint for a surplus word, or NULL */
	const struct option *options; /* ends with {0}; may be NULL */

	/*
	 * Do it.
	 *
	 *   c  where data is, how to print, and where to put an error
	 *   a  the parsed command line; borrowed
	 *
	 * Returns the exit status (0 and above), or a negative errno with c->err filled, by the
	 * library or by cli_error() and cli_usage().
	 */
	int (*run)(struct cli_context *c, const struct args *a);
};

/* Every command gets one of these. */
struct cli_context {
	const char *data_dir;	      /* --data-dir; NULL: the library looks for it */
	bool json;		      /* --json was given */
	struct mvm_progress progress; /* for the calls that report; `&c->progress` */
	struct mvm_error err;
	bool usage;	    /* err is about the command line: exit status 2 */
	int failure_status; /* exit status of failures when not 0 (125 for guest commands) */
};

/* Describe a failure that the command itself found.  Returns code, a negative errno. */
int cli_error(struct cli_context *c, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The command line makes no sense: exit status 2 and a pointer to the command's help.  Returns
 * -EINVAL. */
int cli_usage(struct cli_context *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The library has judged words of the command line: what it calls invalid is wrong usage.  Returns
 * r, its answer. */
int cli_judged(struct cli_context *c, int r);

#endif
