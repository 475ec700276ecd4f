# Plumbline as an image: what `docker-compose.yml` runs, on Kafka. With the embedded log, one container at a time has the
# volume; a second one is refused, unless it shares the first one's process numbers:
#
#   docker run --name tower --volume tower:/data plumbline run
#   docker run --pid container:tower --volume tower:/data plumbline generate tower …
FROM node:24-bookworm-slim
WORKDIR /plumbline
COPY . .
# The first command installs what package-lock.json names, and bundles the program. The data folder belongs to whom the
# program runs as.
RUN ./plumbline --version && mkdir /data && chown node:node /data
USER node
ENV PLUMBLINE_DATA=/data
VOLUME /data
ENTRYPOINT ["./plumbline"]
CMD ["help"]
