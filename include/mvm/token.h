/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_TOKEN_H
#define MVM_TOKEN_H

/*
 * Tokens that let programs use mvmd over the network (doc/service.md).
 *
 * A token is a secret of 256 random bits, which its owner sends with each request.  The data folder
 * has only its digest, so a reader of the folder cannot use it.
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stddef.h>
#include <stdint.h>

/* What a token is good for.  Each scope includes those before it. */
enum mvm_token_scope {
	MVM_TOKEN_READ,	 /* lists, states, logs, events, metrics */
	MVM_TOKEN_EXEC,	 /* start, use and end instances: commands, files, ports */
	MVM_TOKEN_ADMIN, /* templates, kernels, pools, networks; no limits */
};

/* "read", "exec" or "admin".  Static. */
MVM_API const char *mvm_token_scope_name(enum mvm_token_scope scope);

/* The name's scope.  0 or -EINVAL. */
MVM_API int mvm_token_scope_parse(const char *name, enum mvm_token_scope *ret,
				  struct mvm_error *err);

struct mvm_token_options {
	size_t size; /* MVM_TOKEN_OPTIONS_INIT sets it (mvm/struct.h) */
	enum mvm_token_scope scope;
	int64_t ttl_ms; /* the token is good for this long; 0: until it is removed */
	/* what the token's instances may take together; 0: no limit */
	uint32_t max_instances, max_vcpus, max_mem_mib;
	uint32_t max_rate; /* requests a second; 0: no limit */
};
#define MVM_TOKEN_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_token_options)

struct mvm_token_info {
	char *name;
	enum mvm_token_scope scope;
	int64_t created_at, expires_at; /* seconds since 1970; expires_at 0: never */
	uint32_t max_instances, max_vcpus, max_mem_mib, max_rate; /* 0: no limit */
};
MVM_API void mvm_token_info_free(struct mvm_token_info *info);

#define MVM_TOKEN_SECRET_SIZE 69 /* "mvm_", 64 hex digits and the NUL */
#define MVM_TOKENS_MAX	      1024u

/*
 * Make a token.
 *
 *   name        1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit
 *   options     borrowed; NULL: scope read, no end, no limits
 *   ret_secret  what its owner sends; nobody can read it again
 *   ret         mvm_token_info_free() it; may be NULL
 *
 * Errors: -EINVAL; -EEXIST; -ENOSPC (there are MVM_TOKENS_MAX of them).  After a crash the token is
 * there or not.
 */
MVM_API int mvm_token_add(struct mvm *mvm, const char *name,
			  const struct mvm_token_options *options,
			  char ret_secret[MVM_TOKEN_SECRET_SIZE], struct mvm_token_info **ret,
			  struct mvm_error *err);

/* Remove a token.  It is good for no further request.  Errors: -ENOENT, -EINVAL (no valid name). */
MVM_API int mvm_token_remove(struct mvm *mvm, const char *name, struct mvm_error *err);

/* All tokens by name, also those whose time is over; mvm_token_list_free() the list.  A file that
 * cannot be read as a token is left out, and is good for nothing. */
MVM_API int mvm_token_list(struct mvm *mvm, struct mvm_token_info ***ret, size_t *ret_n,
			   struct mvm_error *err);
MVM_API void mvm_token_list_free(struct mvm_token_info **list, size_t n);

/* The tokens of a data folder in memory, for a server that checks each request. */
struct mvm_tokens;

/* mvm: borrowed until mvm_tokens_close().  Reads nothing yet, so only memory can be missing. */
MVM_API int mvm_tokens_open(struct mvm *mvm, struct mvm_tokens **ret, struct mvm_error *err);
MVM_API void mvm_tokens_close(struct mvm_tokens *tokens); /* NULL is fine */

/*
 * Find the token of a secret.
 *
 *   secret  the secret that mvm_token_add() gave, with the prefix "mvm_", "e2b_" or none; any other
 *           text is no token's; need not end with a NUL
 *   ret     borrowed until the next call
 *
 * Returns 0; -EACCES when it is no token's, or the token's time is over.  Costs one system call
 * unless a token was added or removed.  How long it takes tells nothing about the secrets.
 */
MVM_API int mvm_tokens_find(struct mvm_tokens *tokens, const char *secret, size_t len,
			    const struct mvm_token_info **ret, struct mvm_error *err);

#endif
