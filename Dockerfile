# Holdfast as a static binary on an empty image.
#
#   docker build -t holdfast .
#   docker buildx build --platform linux/amd64,linux/arm64 -t holdfast .
#
# The build image is an argument: any image with Go 1.26, a shell and CA certificates
# does. The compiler runs on the builder's own platform and compiles for the target.
ARG BUILD_IMAGE=golang:1.26

FROM --platform=${BUILDPLATFORM:-linux} ${BUILD_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The builder of an engine without BuildKit leaves TARGETARCH empty: then the binary is for
# the machine that builds. Without symbols it is a third smaller.
ARG TARGETARCH VERSION=dev REVISION=unknown
RUN CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X github.com/holdfast-mesh/holdfast/node.Version=$VERSION -X main.revision=$REVISION" \
	-o /out/holdfast ./cmd/holdfast \
	&& mkdir -p /out/data /out/etc/ssl/certs \
	&& cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
	&& cp LICENSE /out/

FROM scratch
ARG VERSION=dev REVISION=unknown
LABEL org.opencontainers.image.title="holdfast" \
	org.opencontainers.image.description="Keeps an exchange's wallets and orders alive when a cloud provider goes dark" \
	org.opencontainers.image.source="https://github.com/holdfast-mesh/holdfast" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.version="$VERSION" \
	org.opencontainers.image.revision="$REVISION"
# Nobody is called 65532 here: there is no file of users. The numbers are enough.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/etc /etc
COPY --from=build /out/LICENSE /LICENSE
COPY --from=build /out/holdfast /holdfast
# Nothing is written but /data, so the rest may be read-only. The API listens on every
# address of the container: who reaches it is decided by what is published.
ENV HOLDFAST_DATA_DIR=/data HOLDFAST_API_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 4001/udp 4001/tcp 8080/tcp
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["/holdfast", "healthy"]
ENTRYPOINT ["/holdfast"]
CMD ["run"]
