/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

/*
 * mvm-registry: the HTTP client of one pull or push.  It alone links libcurl and reads what a
 * registry sends.  mvm starts it with a SOCK_SEQPACKET socket as standard input and talks to it in
 * JSON messages.  It has no path to mvm's files: it writes into descriptors that come with the
 * messages.  mvm compares every digest again.
 *
 * From mvm, in this order:
 *
 *	{"base": "https://reg.example", "path": "library/debian", ...}
 *		once, with a descriptor of the registry's own CA certificates or without.  Further
 *		members: struct target.  "push" allows has, upload and put, "remove" allows delete
 *	{"head": "TAG"}
 *		a manifest's digest
 *	{"get": "TAG or DIGEST", "max": BYTES}
 *		a manifest into the descriptor
 *	{"blob": "sha256:...", "size": BYTES}
 *		note a blob for "run"; its descriptor may hold the blob's first bytes already
 *	{..., "from": FIRST, "bytes": BYTES, "at": OFFSET}
 *		the same for a part of the blob, which goes to that offset in the descriptor.
 *		mvm-registry compares no digest of a part
 *	{"run": true}
 *		fetch the noted blobs
 *	{"has": "sha256:..."}
 *		does the repository have a blob?
 *	{"upload": "sha256:...", "size": BYTES}
 *		put the descriptor's bytes as a blob
 *	{"put": "TAG or DIGEST", "type": "...", "size": BYTES}
 *		and as a manifest
 *	{"login": true}
 *		does the registry take the user?
 *	{"list": "tags/list", "max": BYTES}
 *		a page of a list into the descriptor; the next page is what "next" said
 *	{"delete": "sha256:..."}
 *		remove a manifest
 *
 * To mvm, one answer for each of them but "blob":
 *
 *	{"digest": "sha256:...", "size": BYTES}		head (the digest may be missing) and get
 *	{"done": true}					run, upload, put and delete
 *	{"found": true}					has, and list with "next": the next page
 *	{"checked": true}				login; false: it asks for none
 *	{"error": ERRNO, "text": "...", "hint": "..."}	any
 *		EOPNOTSUPP of run: the registry sends no parts of blobs.  Where a login may mend it,
 *		"reason" and "subject" come with it
 *
 * and before it any number of {"bytes": BYTES of all blobs so far} and {"note": "..."}.
 *
 * Source: OCI distribution-spec v1.1; the token authentication specification of Docker Registry.
 */

#include "base/error.h"

#define REGISTRY_MESSAGE_MAX 131072u
#define REGISTRY_BLOBS_MAX   512u

/* Serve one pull until mvm closes the socket.  Returns 0 or -errno. */
int registry_serve(int sock, struct mvm_error *err);

#endif
