/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_REPORT_H
#define BUILD_NIX_REPORT_H

/* Parse the --json output of nix commands.  The caller bounds all texts; any fault of a text is
 * -EBADMSG. */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"

/* `nix flake metadata`: Nix 2.8 to 2.30 agree on these. */
struct nix_metadata {
	char *source;	 /* the flake's source in the Nix store; NULL when Nix made no copy */
	char *dir;	 /* the flake's folder in its source; NULL: the source itself */
	char *identity;	 /* narHash, else revision, of the source; NULL when it has neither */
	char *locks;	 /* Nix's report of the locks, sorted compact JSON */
	bool has_inputs; /* the flake has inputs to lock */
	bool is_commit;	 /* the source is a revision, without changes to it */
};

int nix_metadata_parse(const char *text, size_t len, struct nix_metadata *ret,
		       struct mvm_error *err);
void nix_metadata_done(struct nix_metadata *m);
DEFINE_AUTO_DONE(nix_metadata, nix_metadata_done)

/* `nix eval` of a list of names.  Appended to ret. */
int nix_names_parse(const char *text, size_t len, struct strv *ret, struct mvm_error *err);

/* `nix build`: the path of the output; of several outputs, the path of "out". */
int nix_build_parse(const char *text, size_t len, char **ret_path, struct mvm_error *err);

/* `nix path-info -S`: the size of the path and of everything that it refers to. */
int nix_closure_parse(const char *text, size_t len, uint64_t *ret_bytes, struct mvm_error *err);

#endif
