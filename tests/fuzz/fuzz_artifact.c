/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of an artifact from a stranger: refused, or what they say is in bounds. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "artifact/assembly.h"
#include "artifact/bundle.h"
#include "artifact/chunk.h"
#include "artifact/document.h"
#include "artifact/variants.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Plan what to fetch when some chunks are here: those whose digests end in an odd byte. */
static void plan(const struct chunk_index *x)
{
	static int memory = -1;
	AUTO_DONE(assembly) a = { 0 };
	AUTO_DONE(chunk_ranges) ranges = { 0 };
	int fds[INDEX_MAX_FILES];
	uint64_t bytes = 0;

	if (memory < 0)
		memory = memfd_create("file", MFD_CLOEXEC);
	for (size_t i = 0; i < INDEX_MAX_FILES; i++)
		fds[i] = memory;
	if (assembly_init(&a, x, fds, NULL) < 0)
		return; /* too large for a file in memory */
	for (uint32_t k = 0; k < x->n_chunks; k++)
		a.places[k].is_here |= x->chunks[k].digest.bytes[31] & 1;
	assert(assembly_plan(&a, INDEX_MAX_PARTS, &ranges, NULL) == 0);
	assert(ranges.n <= INDEX_MAX_PARTS);
	for (size_t i = 0; i < ranges.n; i++) {
		const struct chunk_range *r = &ranges.v[i];
		assert(r->part < x->n_parts && r->bytes > 0);
		assert(r->from + r->bytes <= x->parts[r->part].bytes);
		assert(r->packed_at + r->bytes <= a.packed_bytes);
		assert(i == 0 || r->packed_at >= r[-1].packed_at + r[-1].bytes);
		bytes += r->bytes;
	}
	assert(bytes == ranges.bytes);
	for (uint32_t i = 0; i < x->n_files; i++)
		assert(!assembly_lacks(&a, &x->files[i]) || ranges.n > 0);
}

static void look_at_index(const uint8_t *data, size_t size)
{
	AUTO_DONE(chunk_index) x = { 0 };
	AUTO_FREE uint8_t *text = NULL;
	struct mvm_error err = { 0 };
	size_t len;

	int r = chunk_index_parse(data, size, &x, &err);
	assert(r == err.code && r <= 0);
	if (r < 0)
		return;
	for (uint32_t i = 0; i < x.n_files; i++) {
		const struct index_file *f = &x.files[i];
		assert(f->name[0] != '/' && !strstr(f->name, "..") && f->n_parts > 0);
		assert(f->first_chunk + f->n_chunks <= x.n_chunks);
		assert(f->first_part + f->n_parts <= x.n_parts);
		uint64_t at = 0;
		for (uint32_t k = 0; k < f->n_chunks; k++) {
			assert(at < f->bytes && x.chunks[f->first_chunk + k].part < f->n_parts);
			at += chunk_bytes(f, at, &x.chunks[f->first_chunk + k]);
		}
		assert(at == f->bytes);
	}
	plan(&x);
	assert(chunk_index_format(&x, &text, &len, &err) == 0);
	assert(len == size && memcmp(text, data, size) == 0);
}

/* A list of signatures gets one more, unless it has that.  Then it has. */
static void look_at_list(const char *text, size_t size)
{
	const struct index_part signature = { { { 7 } }, 100 };
	AUTO_FREE char *more = NULL, *again = NULL;

	if (artifact_referrers_format(text, size, &signature, &more, NULL) > 0)
		assert(artifact_referrers_format(more, strlen(more), &signature, &again, NULL) ==
		       0);
}

/* An index of variants: what is read is sorted, and reads the same when it is written again. */
static void look_at_variants(const char *text, size_t size)
{
	AUTO_FREE char *again = NULL;
	struct variants all, same;
	struct mvm_error err = { 0 };

	int r = variants_parse(text, size, "index", &all, &err);
	assert(r > 0 || r == err.code);
	if (r <= 0)
		return;
	assert(all.n > 0 && all.n <= VARIANTS_MAX);
	for (size_t i = 0; i < all.n; i++) {
		assert(variants_find(&all, &all.v[i].key, 1) == &all.v[i]);
		assert(all.v[i].manifest.bytes <= ARTIFACT_MANIFEST_MAX);
		assert(i == 0 ||
		       memcmp(&all.v[i - 1].key, &all.v[i].key, sizeof(all.v[i].key)) < 0);
	}
	assert(variants_format(&all, &again, &err) == 0);
	assert(variants_parse(again, strlen(again), "index", &same, &err) == 1);
	assert(same.n == all.n && strcmp(same.revision, all.revision) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct public_key keys[1] = { { .bytes = { 1 } } };
	static const struct mvm_digest about = { { 0 } };
	struct artifact_manifest m;
	struct index_part bundle;
	struct mvm_error err = { 0 };
	size_t which = 9;

	look_at_index(data, size);
	assert(bundle_verify((const char *)data, size, &about, keys, 1, &which) == 0);
	look_at_list((const char *)data, size);
	look_at_variants((const char *)data, size);
	if (signature_manifest_parse((const char *)data, size, &about, &bundle) > 0)
		assert(bundle.bytes > 0 && bundle.bytes <= BUNDLE_MAX);
	int r = artifact_manifest_parse((const char *)data, size, "manifest", &m, &err);
	assert(r == err.code && r <= 0);
	if (r == 0)
		assert(m.n_blobs <= INDEX_MAX_PARTS && m.index.bytes <= INDEX_MAX_BYTES &&
		       m.config.bytes <= ARTIFACT_CONFIG_MAX);
	return 0;
}
