/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_FAILED_SNAPSHOT_H
#define TEMPLATE_FAILED_SNAPSHOT_H

/*
 * The last snapshot of a template that failed for a reason of the image's, such as a kernel that
 * panics.  A try costs a boot, so not every run of an image tries again.
 *
 * cache/no-snapshot.<template> has one line: the revision, a space, the reason.  It counts for that
 * revision alone, and may be removed at any time.  A failure to write it costs another try.
 */

#include <stdbool.h>

#include "store/store.h"

/* Would another try fail, too?  Not if only the host was at fault: a full disk, no backend. */
bool failed_snapshot_is_lasting(int code);

/* reason: its line breaks become spaces. */
void failed_snapshot_note(struct store *s, const char *id, const char *revision,
			  const char *reason);

/* The reason for this revision, the caller's; NULL: none is known. */
char *failed_snapshot_reason(struct store *s, const char *id, const char *revision);

void failed_snapshot_forget(struct store *s, const char *id);

#endif
