/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_FILES_H
#define SERVICE_V1_FILES_H

/* Files of instances: what the guest's agent does with them (doc/agent-protocol.md, "Files"). */

#include <mvm/stream.h>

#include "base/str.h"
#include "guest.h"
#include "request.h"

/* Have the agent do a verb.  user: the owner of new files; NULL: root.  ret: the caller's. */
int file_start(struct request *rq, const char *const *command, const char *user, bool input,
	       struct mvm_exec **ret, struct mvm_error *err);

/* What the agent's standard error says, of which the beginning is enough. */
void file_add_words(struct strbuf *words, const struct mvm_exec_event *event);

/* The failure of a verb or of a tar that ended with this event; 0 when it went well. */
int file_end(const struct mvm_exec_event *event, const struct strbuf *words, struct mvm_error *err);

/*
 * Read the entry at the front of the agent's output.
 *
 *   ret       an object for clients; NULL: no memory
 *   ret_size  the file's size
 *
 * Returns how many bytes the entry has, 0 when it is not whole yet, or -EPROTO.
 */
ssize_t file_entry(const char *data, size_t len, json_t **ret, uint64_t *ret_size);

/* The query's "path", which must be given. */
int file_path(const struct request *rq, const char **ret, struct mvm_error *err);

#endif
