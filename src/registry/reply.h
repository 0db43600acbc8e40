/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_REPLY_H
#define REGISTRY_REPLY_H

/* Parses documents and headers of a registry's answers.  All of it is untrusted and bounded. */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define REPLY_TEXT_MAX	 65536u /* bytes of an answer that is no manifest and no blob */
#define REPLY_TOKEN_MAX	 32768u
#define REPLY_SAID_SIZE	 300u
#define REPLY_DIGEST_TAG "sha256:"

/* The value of a header line, without the space around it; len: that of the line.  false if the
 * line is no header of this name. */
bool reply_header(const char *line, size_t len, const char *name, const char **ret,
		  size_t *ret_len);

/* Parse "sha256:" and 64 digits.  0 or -EINVAL. */
int reply_digest(const char *s, size_t len, struct mvm_digest *ret);

/* The first byte and the total size in "bytes 100-199/200".  total: UINT64_MAX for "*".  0 or
 * -EINVAL. */
int reply_range(const char *s, size_t len, uint64_t *ret_first, uint64_t *ret_total);

/* The token in a token service's answer.  ret: visible ASCII, the caller's.  0, -EPROTO or
 * -ENOMEM. */
int reply_token(const char *text, size_t len, char **ret, struct mvm_error *err);

/* The code and message of a registry's error document, safe to print; "" if it says nothing. */
void reply_said(const char *text, size_t len, char ret[REPLY_SAID_SIZE]);

#endif
