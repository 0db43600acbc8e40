/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_CODE_H
#define SERVICE_CODE_H

/* Failures for programs: one table from the library's errors to HTTP statuses and words. */

#include <jansson.h>
#include <mvm/error.h>

/* The status of a reply with this error: 404 for -ENOENT. */
unsigned code_status(const struct mvm_error *err);

/* The error's word: "not_found".  Static. */
const char *code_word(const struct mvm_error *err);

/* {"code", "message", "hint", "reason", "subject"}, the last three if they are set.  NULL: no
 * memory. */
json_t *code_json(const struct mvm_error *err);

#endif
