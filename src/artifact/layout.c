/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "copy/tar.h"
#include "image/oci_manifest.h"
#include "image/oci_resolve.h"

#define LAYOUT_NAME "oci-layout"
#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"

/* ---- writing ---- */

static int put(struct layout_writer *w, const void *data, size_t len, struct mvm_error *err)
{
	int r = file_write_all(w->fd, data, len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot write the file: %s", strerror(-r));
	w->at += len;
	return 0;
}

static int put_text(struct layout_writer *w, struct strbuf *b, struct mvm_error *err)
{
	return b->failed ? mvm_error_oom(err) : put(w, b->data, b->len, err);
}

static void add_header(struct strbuf *b, const char *name, uint64_t bytes)
{
	const struct tar_entry entry = {
		.type = TAR_FILE, .path = name, .target = "", .mode = 0644, .size = bytes
	};
	tar_write_header(b, &entry);
}

static int put_member(struct layout_writer *w, const char *name, const char *text,
		      struct mvm_error *err)
{
	AUTO_DONE(strbuf) b = { 0 };

	add_header(&b, name, strlen(text));
	strbuf_adds(&b, text);
	tar_write_padding(&b, strlen(text));
	return put_text(w, &b, err);
}

int layout_begin(struct layout_writer *w, int fd, struct mvm_error *err)
{
	*w = (struct layout_writer){ .fd = fd };
	return put_member(w, LAYOUT_NAME, LAYOUT_TEXT, err);
}

/* The blob's header is written when its name and size are known. */
static int blob_begin(void *arg, struct mvm_error *err)
{
	static const char room[TAR_BLOCK];
	struct layout_writer *w = arg;

	w->began = w->at;
	return put(w, room, sizeof(room), err);
}

static int blob_add(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	return put(arg, data, len, err);
}

/* Drop the current blob. */
static int drop(struct layout_writer *w, struct mvm_error *err)
{
	if (ftruncate(w->fd, (off_t)w->began) < 0 || lseek(w->fd, (off_t)w->began, SEEK_SET) < 0)
		return mvm_error_set(err, -errno, "cannot write the file: %s", strerror(errno));
	w->at = w->began;
	return 0;
}

static int blob_end(void *arg, const struct mvm_digest *digest, uint64_t bytes,
		    struct mvm_error *err)
{
	AUTO_DONE(strbuf) header = { 0 }, padding = { 0 };
	struct layout_writer *w = arg;
	char name[OCI_NAME_SIZE];

	int r = blob_list_add(&w->blobs, digest, bytes);
	if (r <= 0)
		return r < 0 ? mvm_error_set(err, r, "cannot write the file: %s", strerror(-r))
			     : drop(w, err);
	w->blob_bytes += bytes;
	oci_blob_name(digest, name);
	add_header(&header, name, bytes);
	tar_write_padding(&padding, bytes);
	if (header.failed)
		return mvm_error_oom(err);
	ssize_t n = pwrite(w->fd, header.data, header.len, (off_t)w->began);
	if (n != (ssize_t)header.len) {
		r = n < 0 ? -errno : -EIO;
		return mvm_error_set(err, r, "cannot write the file: %s", strerror(-r));
	}
	return put_text(w, &padding, err);
}

struct blob_sink layout_sink(struct layout_writer *w)
{
	return (struct blob_sink){
		.begin = blob_begin, .write = blob_add, .end = blob_end, .arg = w
	};
}

int layout_end(struct layout_writer *w, const struct index_part *manifest, const char *tag,
	       const struct index_part *signature, struct mvm_error *err)
{
	AUTO_DONE(strbuf) end = { 0 };
	AUTO_FREE char *text = NULL;

	int r = artifact_layout_format(manifest, tag, signature, &text, err);
	if (r == 0)
		r = put_member(w, "index.json", text, err);
	tar_write_end(&end);
	return r < 0 ? r : put_text(w, &end, err);
}

/* ---- reading ---- */

void artifact_done(struct artifact *a)
{
	oci_files_done(&a->files);
	chunk_index_done(&a->index);
	free(a->config);
	free(a->tag);
	*a = (struct artifact)ARTIFACT_NONE;
}

/* Read a document that must have its digest. */
static int read_blob(const struct artifact *a, const struct index_part *blob, size_t max,
		     char **ret, size_t *ret_len, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	char name[OCI_NAME_SIZE];
	struct mvm_digest digest;
	size_t len;

	oci_blob_name(&blob->digest, name);
	int r = oci_file_read(&a->files, name, max, &text, &len, err);
	if (r < 0)
		return r;
	sha256_buf(text, len, &digest);
	if (len != blob->bytes || !digest_equal(&digest, &blob->digest))
		return mvm_error_set(err, -EBADMSG,
				     "'%s/%s' is damaged: it does not have its "
				     "digest",
				     a->files.path, name);
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static bool fits(const struct oci_descriptor *d, const char *tag)
{
	return str_eq(d->media_type, ARTIFACT_MANIFEST_TYPE) && !d->problem &&
	       (!tag || str_eq(d->ref_name, tag));
}

/* Choose the manifest that a tag names, or the only one: those of signatures have no tag. */
static int choose(const struct artifact *a, const struct oci_index *list, const char *tag,
		  const struct oci_descriptor **ret, struct mvm_error *err)
{
	const struct oci_descriptor *found = NULL;
	size_t n = 0, n_tagged = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct oci_descriptor *d = &list->manifests[i];
		if (!fits(d, tag))
			continue;
		n++;
		n_tagged += d->ref_name != NULL;
		if (!found || (d->ref_name && !found->ref_name))
			found = d;
	}
	if (!found)
		return mvm_error_set(err, -ENOENT, "'%s' has no artifact%s%s", a->files.path,
				     tag ? " with the tag " : "", tag ? tag : "");
	if (n_tagged > 1 || (n > 1 && n_tagged == 0)) {
		int r = mvm_error_set(err, -EINVAL, "'%s' has %zu artifacts", a->files.path,
				      n_tagged ? n_tagged : n);
		return mvm_error_reason(err, r, "artifact-ambiguous", a->files.path);
	}
	*ret = found;
	return 0;
}

/* Is this entry perhaps the manifest of a signature?  A manifest without an artifactType is listed
 * with its configuration's type, or with none. */
static bool may_be_signature(const struct artifact *a, const struct oci_descriptor *d)
{
	bool other = d->artifact_type && !str_eq(d->artifact_type, BUNDLE_TYPE) &&
		     !str_eq(d->artifact_type, EMPTY_TYPE);
	return !d->problem && !other && !d->ref_name && d->size <= ARTIFACT_MANIFEST_MAX &&
	       str_eq(d->media_type, ARTIFACT_MANIFEST_TYPE) &&
	       !digest_equal(&d->digest, &a->manifest.digest);
}

/* A registry may list a signature in two places. */
static bool is_listed(const struct artifact *a, const struct mvm_digest *digest)
{
	for (uint32_t i = 0; i < a->n_signatures; i++) {
		if (digest_equal(&a->signatures[i].digest, digest))
			return true;
	}
	return false;
}

static void add_listed(struct artifact *a, const struct oci_index *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct oci_descriptor *d = &list->manifests[i];
		if (!may_be_signature(a, d) || is_listed(a, &d->digest))
			continue;
		if (a->n_signatures == SIGNATURES_MAX ||
		    d->size > SIGNATURES_BYTES_MAX - a->signatures_bytes) {
			a->too_many_signatures = true;
			continue;
		}
		a->signatures[a->n_signatures++] = (struct index_part){ d->digest, d->size };
		a->signatures_bytes += d->size;
	}
}

int artifact_add_signatures(struct artifact *a, const char *index, size_t len,
			    struct mvm_error *err)
{
	AUTO_DONE(oci_index) list = { 0 };

	int r = oci_index_parse(index, len, "the list of signatures", &list, err);
	if (r == 0)
		add_listed(a, &list);
	return r;
}

/* The list of signatures under a tag, as registries without an API for it have it. */
static int add_tagged(struct artifact *a, const struct oci_index *list, struct mvm_error *err)
{
	char tag[ARTIFACT_LIST_TAG_SIZE];

	artifact_list_tag(&a->manifest.digest, tag);
	for (size_t i = 0; i < list->n; i++) {
		const struct oci_descriptor *d = &list->manifests[i];
		AUTO_FREE char *text = NULL;
		size_t len;
		if (d->problem || !str_eq(d->ref_name, tag) || d->media != OCI_MEDIA_INDEX)
			continue;
		const struct index_part blob = { d->digest, d->size };
		int r = read_blob(a, &blob, ARTIFACT_MANIFEST_MAX, &text, &len, err);
		return r < 0 ? r : artifact_add_signatures(a, text, len, err);
	}
	return 0;
}

static int find_manifest(struct artifact *a, const char *tag, struct mvm_error *err)
{
	AUTO_DONE(oci_index) list = { 0 };
	AUTO_FREE char *text = NULL;
	const struct oci_descriptor *d = NULL;
	bool failed = false;
	size_t len;

	int r = oci_file_read(&a->files, "index.json", OCI_JSON_MAX, &text, &len, err);
	if (r == -ENOENT)
		return mvm_error_set(err, -EINVAL, "'%s' is no OCI layout: it has no index.json",
				     a->files.path);
	if (r >= 0)
		r = oci_index_parse(text, len, "index.json", &list, err);
	if (r >= 0)
		r = choose(a, &list, tag, &d, err);
	if (r < 0)
		return r;
	a->manifest = (struct index_part){ d->digest, d->size };
	a->tag = str_dup(d->ref_name, &failed);
	if (failed)
		return mvm_error_oom(err);
	add_listed(a, &list);
	return add_tagged(a, &list, err);
}

/* Read the manifest of a signature.  1 with the bundle's blob, 0 if it is none, or -ENOMEM. */
static int read_signature(const struct artifact *a, const struct index_part *manifest,
			  struct index_part *ret)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	int r = read_blob(a, manifest, ARTIFACT_MANIFEST_MAX, &text, &len, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	return signature_manifest_parse(text, len, &a->manifest.digest, ret);
}

size_t artifact_bundles(const struct artifact *a, struct index_part *ret)
{
	size_t n = 0;
	for (uint32_t i = 0; i < a->n_signatures; i++)
		n += read_signature(a, &a->signatures[i], &ret[n]) > 0;
	return n;
}

int artifact_find_signature(const struct artifact *a, const struct public_key *keys, size_t n_keys,
			    size_t *ret_key)
{
	struct index_part bundles[SIGNATURES_MAX];
	size_t n = artifact_bundles(a, bundles);

	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *text = NULL;
		size_t len;
		int r = read_blob(a, &bundles[i], BUNDLE_MAX, &text, &len, NULL);
		if (r == 0)
			r = bundle_verify(text, len, &a->manifest.digest, keys, n_keys, ret_key);
		if (r > 0 || r == -ENOMEM)
			return r;
	}
	return 0;
}

static int read_documents(struct artifact *a, struct mvm_error *err)
{
	AUTO_FREE char *manifest = NULL, *index = NULL;
	size_t len;

	int r = read_blob(a, &a->manifest, ARTIFACT_MANIFEST_MAX, &manifest, &len, err);
	if (r == 0)
		r = artifact_manifest_parse(manifest, len, "the manifest", &a->blobs, err);
	if (r == 0)
		r = read_blob(a, &a->blobs.config, ARTIFACT_CONFIG_MAX, &a->config, &a->config_len,
			      err);
	if (r == 0)
		r = read_blob(a, &a->blobs.index, INDEX_MAX_BYTES, &index, &len, err);
	if (r == 0)
		r = chunk_index_parse(index, len, &a->index, err);
	return r < 0 ? r : artifact_manifest_check(&a->blobs, &a->index, err);
}

int artifact_open(const char *path, const char *tag, struct artifact *ret, struct mvm_error *err)
{
	AUTO_DONE(artifact) a = ARTIFACT_NONE;
	struct stat st;

	if (stat(path, &st) < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", path, strerror(errno));
	int r = oci_files_open(path, !S_ISDIR(st.st_mode), &a.files, err);
	if (r == 0)
		r = find_manifest(&a, tag, err);
	if (r == 0)
		r = read_documents(&a, err);
	if (r < 0)
		return r;
	*ret = a;
	a = (struct artifact)ARTIFACT_NONE;
	return 0;
}

int artifact_open_at(int dir_fd, const char *name, const struct index_part *manifest,
		     struct artifact *ret, struct mvm_error *err)
{
	AUTO_DONE(artifact) a = ARTIFACT_NONE;

	a.manifest = *manifest;
	a.files.path = strdup(name);
	a.files.fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	if (!a.files.path || a.files.fd < 0)
		return mvm_error_oom(err);
	int r = read_documents(&a, err);
	if (r < 0)
		return r;
	*ret = a;
	a = (struct artifact)ARTIFACT_NONE;
	return 0;
}

int artifact_unpack(const struct artifact *a, const struct index_file *file, int to_fd,
		    struct progress_step *step, struct mvm_error *err)
{
	struct oci_file open[INDEX_MAX_PARTS];
	struct blob_at blobs[INDEX_MAX_PARTS];
	char name[OCI_NAME_SIZE];
	uint32_t n = 0;
	int r = 0;

	for (; r == 0 && n < file->n_parts; n++) {
		const struct index_part *part = &a->index.parts[file->first_part + n];
		oci_blob_name(&part->digest, name);
		r = oci_file_open(&a->files, name, &open[n], err);
		if (r < 0)
			break;
		blobs[n] = (struct blob_at){ open[n].fd, open[n].offset };
		if (open[n].size != part->bytes)
			r = mvm_error_set(err, -EBADMSG, "'%s/%s' does not have its size",
					  a->files.path, name);
	}
	if (r == 0)
		r = unpack_file(&a->index, file, blobs, to_fd, step, err);
	while (n > 0)
		oci_file_close(&a->files, &open[--n]);
	return r;
}
