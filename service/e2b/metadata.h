/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_METADATA_H
#define SERVICE_E2B_METADATA_H

/* What a client keeps with a file: headers X-Metadata-KEY of an upload, and lines KEY=VALUE in the
 * guest's agent (guest/metadata.h). */

#include <jansson.h>

#include "base/str.h"
#include "e2b/e2b.h"

/* The lines of a request's headers; keys in lower case.  -EINVAL: the agent would refuse one. */
int metadata_of(const struct request *rq, struct strbuf *ret, struct mvm_error *err);

/* The lines of an entry as an object; NULL: it has none. */
json_t *metadata_json(const char *lines);

#endif
