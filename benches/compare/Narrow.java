// The narrow query with Kafka's own consumer, a HashMap and Jackson: java Narrow SERVERS TOPIC

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.math.BigDecimal;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Narrow {
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static class Order {
        public String status;
        public BigDecimal amount;
    }

    private static class Group {
        long count;
        BigDecimal sum = BigDecimal.ZERO;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, byte[]> latest = latest(arguments[0], arguments[1]);
        ObjectReader reader = new ObjectMapper().readerFor(Order.class);
        Map<String, Group> groups = new TreeMap<>();
        for (byte[] payload : latest.values()) {
            Order order = reader.readValue(payload);
            Group group = groups.computeIfAbsent(order.status, status -> new Group());
            group.count++;
            group.sum = group.sum.add(order.amount);
        }
        groups.forEach((status, group) ->
            System.out.println(status + "," + group.count + "," + group.sum.toPlainString()));
    }

    private static Map<String, byte[]> latest(String servers, String topic) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", servers);
        properties.put("isolation.level", "read_committed");
        properties.put("enable.auto.commit", "false");
        properties.put("max.poll.records", "50000");
        properties.put("max.partition.fetch.bytes", "16777216");
        properties.put("fetch.max.bytes", "67108864");
        properties.put("receive.buffer.bytes", "4194304");
        Map<String, byte[]> latest = new HashMap<>();
        try (var consumer = new KafkaConsumer<>(
                properties, new StringDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition()))
                .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            Set<TopicPartition> open = new HashSet<>(partitions);
            open.removeIf(partition -> consumer.position(partition) >= ends.get(partition));
            while (!open.isEmpty()) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    if (record.value() == null) {
                        latest.remove(record.key());
                    } else {
                        latest.put(record.key(), record.value());
                    }
                }
                // The position also moves past offsets without a record, such as the end of a
                // transaction.
                open.removeIf(partition -> consumer.position(partition) >= ends.get(partition));
            }
        }
        return latest;
    }
}
