/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARTIFACT_VARIANTS_H
#define ARTIFACT_VARIANTS_H

/*
 * Several snapshots of one revision under one tag, each for another kind of host: an OCI image
 * index of their artifacts' manifests.  It is not signed; the manifests are.  What it says of them
 * only chooses one: a pull compares the chosen one's own facts with this host's.
 *
 * Source: OCI image-spec v1.1, image-index.md.
 */

#include "artifact/document.h"
#include "model/template.h"

#define VARIANTS_MAX	   64u
#define VARIANTS_MAX_BYTES ((size_t)64 << 10)

/* A kind of host, by two hashes of 16 hex digits (start/facts.h, facts_key()). */
#define VARIANT_HASH_SIZE 17
struct variant_key {
	char cpu[VARIANT_HASH_SIZE], backend[VARIANT_HASH_SIZE];
};

struct variant {
	struct index_part manifest;
	struct variant_key key;
};

/* Sorted by key; each key once. */
struct variants {
	char revision[MVM_REVISION_HASH_SIZE];
	struct variant v[VARIANTS_MAX];
	size_t n;
};

/* Add a variant, in the place of one with the same key.  -E2BIG: there is no room. */
int variants_add(struct variants *l, const struct variant *v);

/* Find the variant for the first of these kinds of hosts for which there is one; NULL: none. */
const struct variant *variants_find(const struct variants *l, const struct variant_key *keys,
				    size_t n);

/* The index's text, always the same for the same variants; free(3) it. */
int variants_format(const struct variants *l, char **ret, struct mvm_error *err);

/*
 * Read an index from anywhere.  Entries of other kinds are left out.
 *
 *   name  of the document, for errors
 *
 * Returns 1; 0: this is another document; -EBADMSG, -EFBIG, -EOPNOTSUPP (a digest that is no
 * SHA-256) or -ENOMEM.
 */
int variants_parse(const char *text, size_t len, const char *name, struct variants *ret,
		   struct mvm_error *err);

#endif
