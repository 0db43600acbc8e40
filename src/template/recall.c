/* SPDX-License-Identifier: Apache-2.0 */
#include "template/recall.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "build/committed.h"
#include "codec/sha256.h"
#include "start/facts.h"

DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)

int recall(struct pull *p, const struct mvm_digest *root, const struct variant_key *keys, size_t n,
	   struct pull_found *ret)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_FREE char *config = NULL;
	struct pull_found found;
	size_t len;

	int r = pull_recall(p, root, &found, &config, &len);
	if (r <= 0)
		return r;
	if (config) {
		r = mvm_template_revision_parse(config, len, "its configuration", &rev, NULL);
		if (r < 0 || strlen(rev.revision_hash) >= sizeof(found.revision))
			return r == -ENOMEM ? r : 0;
		snprintf(found.revision, sizeof(found.revision), "%s", rev.revision_hash);
		found.fits = rev.has_snapshot && (n == 0 || facts_fit(&rev.snapshot, keys, n));
	}
	*ret = found;
	return 1;
}

static bool came_with(const struct mvm_template_revision *rev, const struct mvm_digest *manifest)
{
	char digest[DIGEST_TEXT_SIZE];

	digest_text(manifest, digest);
	return str_eq(rev->snapshot.origin, digest) ||
	       (str_starts(rev->flake_ref, RECEIVED_PREFIX) &&
		str_eq(rev->flake_ref + strlen(RECEIVED_PREFIX), digest));
}

bool recall_is(const struct mvm_template_revision *rev, const struct pull_found *found)
{
	if (came_with(rev, &found->manifest))
		return true;
	return str_eq(rev->revision_hash, found->revision) &&
	       (!found->fits || (rev->has_snapshot && !rev->snapshot.origin));
}
