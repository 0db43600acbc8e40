/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_PUSH_TAG_H
#define TEMPLATE_PUSH_TAG_H

/* A pushed manifest gets its tag, beside the variants of its revision that others have pushed. */

#include "artifact/variants.h"
#include "base/progress.h"
#include "pull/session.h"

struct push_tag {
	const char *name;     /* "reg.example/team/web:v1", for messages */
	const char *tag;      /* "v1" */
	const char *revision; /* of the manifest */
	struct variant mine;  /* the manifest, and the hosts that its snapshot is for */
	int fd;		      /* has the manifest's text; borrowed */
	bool has_snapshot;    /* false: the manifest alone replaces whatever the tag names */
};

/*
 * Put the manifest under its tag.
 *
 * Registries have no agreed way to change a tag only if nobody else has (opencontainers'
 * distribution-spec, pull request 251, is open since 2021).  So this looks again, a moment later,
 * whether the variant is still there, and puts it again if a push at the same time has taken it
 * away.
 *
 *   ret_variants  how many snapshots the tag has then
 *
 * Errors: -EBUSY (others always come in between), -E2BIG (too many variants), -ECANCELED, and those
 * of the registry.
 */
int push_tag(struct session *s, const struct push_tag *what, const struct mvm_progress *progress,
	     size_t *ret_variants, struct mvm_error *err);

#endif
