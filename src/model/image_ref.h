/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_IMAGE_REF_H
#define MODEL_IMAGE_REF_H

/*
 * References to images in registries: [HOST[:PORT]/]PATH[:TAG][@sha256:DIGEST].
 *
 * Short names mean what they mean to docker.  The first part is a host if it has a dot, a colon or
 * a capital letter, or is "localhost"; else the host is docker.io, and a path of one part there is
 * below "library/".  Without tag and digest the tag is "latest".  With a digest the tag only
 * informs people.
 *
 * Source: the grammar of github.com/distribution/reference; OCI distribution-spec v1.1, "Pull".
 */

#include <mvm/digest.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"

#define IMAGE_REF_MAX	   512u /* bytes of a reference */
#define IMAGE_REF_PATH_MAX 255u /* of its path */
#define IMAGE_REF_HUB	   "docker.io"
#define IMAGE_REF_SCHEME   "docker://"

struct image_ref {
	char *host; /* "docker.io", "reg.example:5000", "[::1]:5000"; lower case */
	char *path; /* "library/debian" */
	char *tag;  /* never NULL */
	struct mvm_digest digest;
	bool has_digest;
};
void image_ref_done(struct image_ref *r);
DEFINE_AUTO_DONE(image_ref, image_ref_done)

/*
 * Parse a reference.
 *
 *   text  without a scheme
 *   ret   set on success only
 *
 * Errors: -EINVAL (the text says which part is wrong), -EOPNOTSUPP (a digest that is no SHA-256),
 * -ENOMEM.
 */
int image_ref_parse(const char *text, struct image_ref *ret, struct mvm_error *err);

/* The part of a text behind IMAGE_REF_SCHEME, or all of it without one. */
const char *image_ref_bare(const char *text);

bool image_ref_is_tag(const char *s);

/* Is this host[:port] the machine itself: localhost, 127.0.0.0/8 or [::1]? */
bool image_ref_is_loopback(const char *host);

#endif
