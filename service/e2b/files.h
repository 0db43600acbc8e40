/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_FILES_H
#define SERVICE_E2B_FILES_H

/* What uploads and downloads of /files share. */

#include "e2b/envd.h"

/* The sandbox and user of a request, if it may: by its token, or by a signature of its query. */
int files_find(struct request *rq, bool writes, struct sandbox **ret, char user[USER_MAX],
	       struct mvm_error *err);

/* Let the guest's agent read a file or, if metadata is not NULL, write it and its metadata. */
int files_start(struct request *rq, const struct sandbox *s, const char *path, const char *user,
		const char *metadata, struct mvm_exec **ret, struct mvm_error *err);

/* What the agent's work ended with, as a failure. */
void files_agent_failed(int status, const struct strbuf *text, struct mvm_error *err);

/* envd's code for a user that the guest does not have. */
void files_say_why(struct mvm_error *err);

#endif
