/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_FLAKE_H
#define BUILD_NIX_FLAKE_H

/*
 * Ask Nix about a flake: its lock, and the package that a template means.
 *
 *	AUTO_DONE(nix_flake) f = NIX_FLAKE_NONE;
 *	nix_flake_open(source, NIX_LOG_NONE, &f, err);
 *	nix_flake_metadata(&f, &metadata, &lock, err);
 *	nix_flake_choose(&f, &attribute, err);
 *	... nix_run(&f.nix, ...) with nix_flake_installable(&f, attribute) ...
 *
 * Nothing here writes into the flake or builds anything.
 */

#include <fcntl.h>

#include "build/builder.h"
#include "build/nix_ref.h"
#include "build/nix_report.h"
#include "build/nix_run.h"

/* The state of one operation. */
struct nix_flake {
	const struct build_source *source; /* borrowed */
	struct nix_ref ref;
	struct nix nix;
	int cwd_fd; /* working folder of commands about the flake; AT_FDCWD: the caller's */
};
#define NIX_FLAKE_NONE                                                                             \
	{                                                                                          \
		.nix = NIX_NONE, .cwd_fd = AT_FDCWD                                                \
	}
void nix_flake_done(struct nix_flake *f);
DEFINE_AUTO_DONE(nix_flake, nix_flake_done)

/* The log of a template's last build, in logs/.  Deleting the template deletes it. */
#define NIX_LOG_NAME "nix-%s.log"

enum nix_log {
	NIX_LOG_NONE, /* for questions to Nix: the error has its messages */
	NIX_LOG_NEW,  /* drop the log of the build before */
	NIX_LOG_MORE,
};

/*
 * Take the reference apart, find the nix command and open the build log, logs/nix-<id>.log.
 *
 *   ret  nix_flake_done() by the caller in every case
 */
int nix_flake_open(const struct build_source *source, enum nix_log log, struct nix_flake *ret,
		   struct mvm_error *err);

/*
 * Get the flake's source and locks from Nix.
 *
 *   ret_lock  flake_lock_hash: of flake.lock's bytes, else of Nix's report
 *
 * A lock that does not fit the flake is -EINVAL; a missing lock only adds a note.
 */
int nix_flake_metadata(const struct nix_flake *f, struct nix_metadata *ret,
		       struct mvm_digest *ret_lock, struct mvm_error *err);

/* Digest the source beyond its lock; zero: Nix does not know its identity. */
void nix_flake_digest(const struct nix_metadata *m, struct mvm_digest *ret);

/* Choose the attribute behind '#' in the flake_ref, else the first name in packages.<system> that
 * fits role and profile.  -ENOENT lists the names tried and the existing ones. */
int nix_flake_choose(const struct nix_flake *f, char **ret, struct mvm_error *err);

/* The chosen attribute as `nix build` wants it; NULL when out of memory. */
char *nix_flake_installable(const struct nix_flake *f, const char *attribute);

/* Find an executable pre-build.sh beside a flake on this machine.  *ret is NULL without one. */
int nix_flake_pre_build(const struct nix_flake *f, char **ret, struct mvm_error *err);

/* Describe why a nix command failed; what: "nix eval". */
int nix_flake_failed(const struct nix_flake *f, const char *what, const struct nix_result *result,
		     struct mvm_error *err);

/* nix_flake_failed() for `nix build`, whose error may be about a missing attribute. */
int nix_flake_explain(const struct nix_flake *f, const struct nix_result *result,
		      struct mvm_error *err);

/* The builder's prepare (builder.h): pre-build.sh and --update-hash, if the user wants them. */
int nix_prepare(const struct build_source *source, struct mvm_error *err);

#endif
