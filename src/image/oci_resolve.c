/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci_resolve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/sha256.h"
#include "image/oci_cpu.h"

#define INDEX_DEPTH 4u
#define ASKED_MAX   (64ULL << 20) /* bytes of documents */

void oci_blob_name(const struct mvm_digest *digest, char ret[OCI_NAME_SIZE])
{
	char hex[DIGEST_HEX_SIZE];
	digest_hex(digest, hex);
	snprintf(ret, OCI_NAME_SIZE, "blobs/sha256/%s", hex);
}

/* This machine's architecture, by its name in Go. */
static const char *host_arch(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#else
#error "name this architecture as Go does"
#endif
}

struct oci_platform oci_platform_here(const char *arch)
{
	return (struct oci_platform){ .arch = arch ? arch : host_arch(),
				      .amd64_level = oci_guest_level() };
}

/* Read a document that only tells which image is the right one. */
static int read_to_ask(struct oci_reader *reader, const struct oci_descriptor *d,
		       char ret_name[OCI_NAME_SIZE], char **ret, size_t *ret_len)
{
	*ret_len = 0;
	int r = reader->read(reader->arg, d, ret_name, ret, ret_len, NULL);
	reader->asked_bytes += *ret_len; /* damaged documents count, too */
	return r;
}

/* An entry does not tell its platform: read it from the image's configuration.  A platform that
 * cannot be read stays unknown, and is an error only if the entry is chosen. */
static int ask(struct oci_reader *reader, struct oci_descriptor *d, struct oci_config *ret,
	       struct mvm_error *err)
{
	AUTO_DONE(oci_manifest) m = { 0 };
	AUTO_FREE char *text = NULL, *config = NULL;
	struct mvm_error problem = { 0 };
	char name[OCI_NAME_SIZE];
	size_t len;

	if (reader->asked_bytes > ASKED_MAX) {
		int r = mvm_error_set(
			err, -EFBIG,
			"'%s': the manifests and configurations of its images take more than "
			"%llu MiB",
			reader->path, ASKED_MAX >> 20);
		return mvm_error_hint(
			err, r,
			"name the image: append ':sha256:DIGEST' of its manifest to the path");
	}
	if (read_to_ask(reader, d, name, &text, &len) < 0)
		return 0;
	d->problem_code = oci_manifest_parse(text, len, name, &m, &problem);
	if (d->problem_code < 0) { /* perhaps an artifact, which is no image */
		d->problem = strdup(problem.text);
		return d->problem ? 0 : mvm_error_oom(err);
	}
	if (read_to_ask(reader, &m.config, name, &config, &len) == 0)
		oci_config_parse(config, len, name, ret, NULL); /* on failure it stays unknown */
	return 0;
}

/* Fill in an unknown text. */
static int learn(char **text, const char *from, struct mvm_error *err)
{
	if (*text || !from)
		return 0;
	*text = strdup(from);
	return *text ? 0 : mvm_error_oom(err);
}

/* Give an entry the platform or problem found for another entry with its digest. */
static int tell(struct oci_descriptor *d, const struct oci_descriptor *asked,
		const struct oci_config *config, struct mvm_error *err)
{
	d->asked = true;
	d->problem_code = asked->problem_code;
	int r = learn(&d->problem, asked->problem, err);
	if (r == 0)
		r = learn(&d->os, config->os, err);
	if (r == 0)
		r = learn(&d->arch, config->arch, err);
	return r < 0 ? r : learn(&d->variant, config->variant, err);
}

static bool is_unknown(const struct oci_descriptor *d)
{
	return d->meant && !d->asked && !d->problem && d->media == OCI_MEDIA_MANIFEST &&
	       (!d->os || !d->arch);
}

int oci_learn_platforms(struct oci_reader *reader, struct oci_index *index, struct mvm_error *err)
{
	for (size_t i = 0; i < index->n; i++) {
		AUTO_DONE(oci_config) config = { 0 };
		struct oci_descriptor *d = &index->manifests[i];
		if (!is_unknown(d))
			continue;
		int r = ask(reader, d, &config, err);
		for (size_t k = i + 1; r == 0 && k < index->n; k++) {
			struct oci_descriptor *same = &index->manifests[k];
			if (is_unknown(same) && same->size == d->size &&
			    digest_equal(&same->digest, &d->digest))
				r = tell(same, d, &config, err);
		}
		if (r == 0)
			r = tell(d, d, &config, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int descend(struct oci_reader *reader, struct oci_index *index,
		   const struct oci_platform *platform, bool inner, unsigned depth,
		   struct oci_descriptor *ret, struct mvm_error *err)
{
	AUTO_DONE(oci_index) below = { 0 };
	AUTO_FREE char *text = NULL;
	const struct oci_descriptor *d;
	char name[OCI_NAME_SIZE];
	size_t len;

	int r = oci_choose_platform(index, platform, inner, reader->path, &d, err);
	if (r < 0)
		return r;
	if (d->media == OCI_MEDIA_MANIFEST) {
		*ret = (struct oci_descriptor){ .media = d->media,
						.digest = d->digest,
						.size = d->size };
		return 0;
	}
	if (depth == 0)
		return mvm_error_set(err, -EBADMSG, "'%s' is damaged: indexes lead to indexes",
				     reader->path);
	r = reader->read(reader->arg, d, name, &text, &len, err);
	if (r == 0)
		r = oci_index_parse(text, len, name, &below, err);
	if (r < 0)
		return r;
	if (oci_choose_all(&below) > 1)
		r = oci_learn_platforms(reader, &below, err);
	return r < 0 ? r : descend(reader, &below, platform, true, depth - 1, ret, err);
}

int oci_resolve(struct oci_reader *reader, struct oci_index *index,
		const struct oci_platform *platform, bool inner, struct oci_descriptor *ret,
		struct mvm_error *err)
{
	return descend(reader, index, platform, inner, INDEX_DEPTH, ret, err);
}
