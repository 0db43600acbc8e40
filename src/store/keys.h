/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_KEYS_H
#define STORE_KEYS_H

/*
 * Keys in the data folder: keys/NAME.pem and keys/NAME.pub, a pair of this user's to sign with, and
 * trust/NAME.pub, the public key of somebody whose snapshots may run here.  In front of a trusted
 * key may stand a line "for: PATTERN", the repositories that it is trusted for.
 */

#include "codec/sign_key.h"
#include "store/store.h"

#define KEY_NAME_SIZE  64u
#define KEY_SCOPE_SIZE 256u
#define KEY_SCOPE_LINE "for: "

struct key_info {
	char name[KEY_NAME_SIZE];
	struct public_key pub;
	char fingerprint[DIGEST_HEX_SIZE];
	char scope[KEY_SCOPE_SIZE]; /* "": everything */
};

struct key_list {
	struct key_info *v;
	size_t n;
};
void key_list_done(struct key_list *l);
DEFINE_AUTO_DONE(key_list, key_list_done)

/* Make a pair of keys.  -EEXIST when there is one of that name, or a public key alone. */
int keys_generate(struct store *s, const char *name, enum key_type type, struct key_info *ret,
		  struct mvm_error *err);

/* Read a key to sign with.  -ENOENT; -EPERM when others may read its file. */
int keys_load(struct store *s, const char *name, struct key_pair *ret, struct mvm_error *err);

/* Can repositories have names of this pattern?  0 or -EINVAL. */
int key_scope_check(const char *scope, struct mvm_error *err);

/* Trust a key, or change what it is trusted for.  scope: NULL or "": everything. */
int keys_trust(struct store *s, const char *name, const struct public_key *pub, const char *scope,
	       struct key_info *ret, struct mvm_error *err);
int keys_untrust(struct store *s, const char *name, struct mvm_error *err);

/* The user's own pairs, or the trusted keys.  Files that cannot be read as keys are left out: they
 * are trusted by nobody. */
int keys_list(struct store *s, bool trusted, struct key_list *ret, struct mvm_error *err);

/* Find a public key by its name, of the user's own pairs or else of the trusted keys.  -ENOENT. */
int keys_find_public(struct store *s, const char *name, struct public_key *ret,
		     struct mvm_error *err);

/* Is a key of this fingerprint trusted now?  For anything: its scope counted when it was used. */
bool keys_are_trusted(struct store *s, const char *fingerprint);

/* Does a key count for a repository, "reg.example/team/web"?  NULL: for a file from anywhere.  The
 * scope is compared part by part: wildcards of fnmatch(3) stay within one, "**" as a whole part
 * stands for one or more. */
bool key_covers(const struct key_info *key, const char *repository);

/* How many trusted keys count for a repository? */
int keys_count_for(struct store *s, const char *repository, size_t *ret, struct mvm_error *err);

#endif
