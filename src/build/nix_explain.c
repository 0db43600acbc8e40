/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_explain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define TAIL_LINES 10u
#define TAIL_MAX   640u /* leaves room in an error's text for the command and the log's path */

/* The first match wins, so the more particular causes come first. */
static const struct cause {
	const char *says;
	int code;
	const char *hint; /* NULL: the error's reason is "nix-wrong-hash" */
} causes[] = {
	{ NIX_SAYS_OLD_LOCK, -EINVAL,
	  "run 'nix flake lock' in the flake's folder: flake.lock does not fit flake.nix" },
	{ NIX_SAYS_NO_ATTRIBUTE, -ENOENT, "run 'nix flake show' to list the flake's packages" },
	{ NIX_SAYS_WRONG_HASH, -EINVAL, NULL },
	{ "NAR hash mismatch in input", -EINVAL,
	  "run 'nix flake update' in the flake's folder: an input differs from flake.lock" },
	{ "No space left on device", -ENOSPC,
	  "make room in the Nix store, for instance with 'nix-collect-garbage'" },
	{ "build-users-group", -EINVAL,
	  "create the group nixbld with members, or set 'build-users-group =' in nix.conf" },
	{ "build users group", -EINVAL,
	  "create the group nixbld with members, or set 'build-users-group =' in nix.conf" },
	{ "experimental Nix feature", -EOPNOTSUPP,
	  "enable the feature in nix.conf, with experimental-features" },
	{ "cannot connect to socket at", -EOPNOTSUPP,
	  "start the Nix daemon: 'systemctl start nix-daemon'" },
	{ "executing 'git'", -EOPNOTSUPP, "install git, which Nix needs for this flake" },
	{ "dubious ownership", -EACCES,
	  "the repository is another user's: run mvm as that user, or name it as path:FOLDER" },
	{ "is not owned by current user", -EACCES,
	  "the repository is another user's: run mvm as that user, or name it as path:FOLDER" },
	{ "is not tracked by Git", -ENOENT,
	  "add the file with 'git add': Nix sees no other files of a repository" },
	{ "does not contain a 'flake.nix'", -ENOENT,
	  "check flake_ref; in a Git repository, 'git add flake.nix'" },
	{ "does not contain a '/flake.nix'", -ENOENT,
	  "check flake_ref; in a Git repository, 'git add flake.nix'" },
	{ "unable to download", -EREMOTEIO, "check the network: Nix could not reach a server" },
	{ "resolve host", -EREMOTEIO, "check the network: Nix could not reach a server" },
	{ "is required to build", -EOPNOTSUPP,
	  "build on a machine that has the architecture or the feature (KVM) that the build "
	  "needs" },
	{ "syntax error", -EINVAL, "correct flake.nix; the text above names the line" },
	{ "creating directory '/nix", -EACCES,
	  "this user cannot write the Nix store: run the Nix daemon, or mvm as root" },
	{ "opening lock file \"/nix", -EACCES,
	  "this user cannot write the Nix store: run the Nix daemon, or mvm as root" },
	{ "could not set permissions on '/nix", -EACCES,
	  "this user cannot write the Nix store: run the Nix daemon, or mvm as root" },
	{ "getting status of", -ENOENT,
	  "check flake_ref, or run 'git add': a file is missing or unknown to Git" },
};

/* Find the start of the last lines, which become part of the error's text. */
static const char *tail_of(const char *errors, size_t len)
{
	size_t start = len, lines = 0;

	while (start > 0 && len - start < TAIL_MAX) {
		if (errors[start - 1] == '\n' && start != len && ++lines == TAIL_LINES)
			break;
		start--;
	}
	if (start > 0 && errors[start - 1] != '\n') { /* amid a line: start at the next */
		const char *next = memchr(errors + start, '\n', len - start);
		if (next && (size_t)(next + 1 - errors) < len)
			return next + 1;
	}
	return errors + start;
}

static size_t trimmed_len(const char *errors)
{
	static const char *const ballast[] = {
		"(use '--show-trace' to show detailed location information)",
	};
	size_t len = strlen(errors);

	for (;;) {
		while (len > 0 && strchr("\r\n ", errors[len - 1]))
			len--;
		bool cut = false;
		for (size_t i = 0; i < MVM_ARRAY_SIZE(ballast); i++) {
			size_t n = strlen(ballast[i]);
			if (len >= n && memcmp(errors + len - n, ballast[i], n) == 0) {
				len -= n;
				cut = true;
			}
		}
		if (!cut)
			return len;
	}
}

static bool line_has(const char *line, size_t len, const char *text)
{
	return memmem(line, len, text, strlen(text)) != NULL;
}

/*
 * Does Nix itself print this text?  Its own text begins with its first "error:", or with the
 * "fatal:" of a git that it runs.  Lines after a '>' do not count: newer versions repeat a
 * builder's log in them.
 */
static bool nix_says(const char *errors, const char *text)
{
	bool begun = false;

	while (*errors) {
		size_t len = strcspn(errors, "\n");
		begun = begun || str_starts(errors, "error:") || str_starts(errors, "fatal:");
		if (begun && errors[strspn(errors, " ")] != '>' && line_has(errors, len, text))
			return true;
		errors += len + (errors[len] == '\n');
	}
	return false;
}

static const struct cause *find_cause(const char *errors)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(causes); i++) {
		/* a full disk is the cause, too, when it is a builder that reports it */
		if (causes[i].code == -ENOSPC ? strstr(errors, causes[i].says) != NULL
					      : nix_says(errors, causes[i].says))
			return &causes[i];
	}
	return NULL;
}

int nix_explain(const char *what, const char *errors, const char *log_path, struct mvm_error *err)
{
	const char *log = log_path ? log_path : "";

	if (!errors)
		errors = "";
	const struct cause *cause = find_cause(errors);
	int code = cause ? cause->code : -EREMOTEIO;
	size_t len = trimmed_len(errors);
	const char *tail = tail_of(errors, len);
	int n = (int)(len - (size_t)(tail - errors));
	if (n == 0)
		code = mvm_error_set(err, code, "%s failed without a message", what);
	else
		code = mvm_error_set(err, code, "%s failed%s%s%s; its output ended with:\n%.*s",
				     what, *log ? " (log: " : "", log, *log ? ")" : "", n, tail);
	if (!cause)
		return code;
	return cause->hint ? mvm_error_hint(err, code, "%s", cause->hint)
			   : mvm_error_reason(err, code, "nix-wrong-hash", NULL);
}

/* Read "sha256-<base64>" after the label.  Accept no other form, since it goes into a flake and a
 * builder could print anything there. */
static bool take_hash(const char *text, const char *label, char ret[NIX_HASH_SIZE])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/=";
	const char *at = strstr(text, label);
	if (!at)
		return false;
	at += strlen(label);
	at += strspn(at, " \t");
	size_t name = str_starts(at, "sha") ? strcspn(at, "-\r\n") + 1 : 0;
	size_t len = name ? name + strspn(at + name, digits) : 0;
	if (len <= name || len >= NIX_HASH_SIZE || !strchr("\r\n", at[len]))
		return false;
	memcpy(ret, at, len);
	ret[len] = '\0';
	return true;
}

bool nix_wrong_hash(const char *errors, char ret_specified[NIX_HASH_SIZE],
		    char ret_got[NIX_HASH_SIZE])
{
	static const char says[] = "error: " NIX_SAYS_WRONG_HASH;
	const char *at = errors ? strstr(errors, says) : NULL;

	while (at && at != errors && at[-1] != '\n') /* in the middle of a builder's line */
		at = strstr(at + 1, says);
	return at && take_hash(at, "specified:", ret_specified) && take_hash(at, "got:", ret_got) &&
	       strcmp(ret_specified, ret_got) != 0;
}
