# Plumbline as an image: what `docker-compose.yml` runs.
FROM node:24-bookworm-slim
WORKDIR /plumbline
COPY . .
# The first command installs what package-lock.json names; the data folder belongs to whom the program runs as.
RUN ./plumbline --version && mkdir /data && chown node:node /data
USER node
ENV PLUMBLINE_DATA=/data
VOLUME /data
ENTRYPOINT ["./plumbline"]
CMD ["help"]
