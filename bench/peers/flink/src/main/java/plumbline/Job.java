package plumbline;

import static plumbline.PeersJob.BROKERS;
import static plumbline.PeersJob.FOLDER;
import static plumbline.PeersJob.INPUT;
import static plumbline.PeersJob.NAME;
import static plumbline.PeersJob.OUTPUT;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.producer.ProducerRecord;
import plumbline.PeersJob.Group;
import plumbline.PeersJob.Pending;
import plumbline.PeersJob.Reward;

/**
 * Flink in one local process, exactly once: state in RocksDB and positions in checkpoints, outputs in transactions that
 * a completed checkpoint commits.
 */
public final class Job {
    static final Progress PROGRESS = new Progress();

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(FOLDER);
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(
            Configuration.fromMap(Map.ofEntries(
                Map.entry("parallelism.default", "1"),
                Map.entry("execution.checkpointing.mode", "EXACTLY_ONCE"),
                Map.entry("execution.checkpointing.interval", "100 ms"),
                Map.entry("execution.checkpointing.incremental", "true"),
                Map.entry("execution.checkpointing.dir", folder.resolve("checkpoints").toUri().toString()),
                Map.entry("state.backend.type", "rocksdb"),
                Map.entry("state.backend.rocksdb.localdir", folder.resolve("rocksdb").toString()),
                Map.entry("io.tmp.dirs", folder.resolve("tmp").toString()),
                Map.entry("pipeline.object-reuse", "true"),
                // Fails where a type would be serialized by Kryo.
                Map.entry("pipeline.generic-types", "false"),
                // A restarted job would count messages twice.
                Map.entry("restart-strategy.type", "none"),
                Map.entry("jobmanager.bind-host", "127.0.0.1"),
                Map.entry("taskmanager.bind-host", "127.0.0.1"),
                Map.entry("rest.bind-address", "127.0.0.1"))));

        KafkaSource<Reward> source = KafkaSource.<Reward>builder()
            .setBootstrapServers(BROKERS)
            .setTopics(INPUT)
            .setGroupId(NAME)
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setProperty("isolation.level", "read_committed")
            .setValueOnlyDeserializer(new RewardSchema())
            .build();
        KafkaSink<Group> sink = KafkaSink.<Group>builder()
            .setBootstrapServers(BROKERS)
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(NAME)
            // At most what the broker allows by default; Flink's own default is an hour.
            .setProperty("transaction.timeout.ms", "900000")
            .setRecordSerializer(new GroupSchema())
            .build();
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "messages")
            .keyBy(Reward::key)
            .process(new Collect())
            .sinkTo(sink);

        JobClient job = environment.executeAsync(NAME);
        // Ends early only when the job fails.
        CompletableFuture.anyOf(PROGRESS.done, job.getJobExecutionResult()).join();
        // Commits the rest, which the last checkpoint did not.
        job.stopWithSavepoint(false, folder.resolve("savepoints").toUri().toString(), SavepointFormatType.NATIVE).join();
        job.getJobExecutionResult().join();
        PROGRESS.tell();
    }

    static final class RewardSchema extends AbstractDeserializationSchema<Reward> {
        @Override
        public Reward deserialize(byte[] value) {
            PROGRESS.message();
            return PeersJob.rewardOf(value);
        }
    }

    static final class GroupSchema implements KafkaRecordSerializationSchema<Group> {
        @Override
        public ProducerRecord<byte[], byte[]> serialize(Group group, KafkaSinkContext context, Long timestamp) {
            byte[] key = group.key().getBytes(StandardCharsets.UTF_8);
            return new ProducerRecord<>(OUTPUT, key, PeersJob.bytesOf(group));
        }
    }

    static final class Collect extends KeyedProcessFunction<String, Reward, Group> implements CheckpointListener {
        private transient ValueState<Pending> state;

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("pending", Pending.class));
        }

        @Override
        public void processElement(Reward message, Context context, Collector<Group> out) throws Exception {
            Pending before = state.value();
            Pending pending = (before == null ? Pending.NOTHING : before).and(message.reward());
            if (pending.isComplete()) {
                state.update(pending.next());
                out.collect(PeersJob.groupOf(message.key(), pending));
                PROGRESS.group();
            } else {
                state.update(pending);
            }
        }

        @Override
        public void notifyCheckpointComplete(long checkpoint) {
            PROGRESS.commit();
        }
    }
}
